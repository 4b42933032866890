"""The KFP definition of the step ``export``."""

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def export(
    party: str,
    session: str,
    trained: dsl.Input[dsl.Model],
    export_to: list[str],
    agree_to_export: bool,
    formats: list[str],
    register_as: str,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    exported: dsl.Output[dsl.Model],
    reveals: dsl.Output[dsl.Markdown],
    prepared: dsl.Input[dsl.Dataset] = None,
    tell_preparation: bool = False,
) -> None:
    """Open the model to the parties that were agreed on, and to nobody else.

    A party in export_to learns every parameter of the model. The others learn that it did. Every
    party has to agree, each in its own pipeline.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        trained: This party's share of the model, from train.
        export_to: Names of the parties that the model is opened to; with none it stays shared.
        agree_to_export: Whether this party agrees that they learn the model.
        formats: What is written at this party, if it learns the model: some of state_dict,
            safetensors, onnx, sklearn, mlflow.
        register_as: Name in this party's MLflow registry, with mlflow among the formats; or empty.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        exported: The opened model, in the formats that were asked for.
        reveals: Every value that was opened: to whom, how many, and why.
        prepared: This party's shares, from encode, with how its columns were prepared.
        tell_preparation: Whether those in export_to may learn how this party prepared its columns
            (means, deviations, categories). Where every owner says so of a linear model, they get
            it as preparations.json, and the sklearn file takes the columns as they are.
    """
    from tallystick.export import step

    step.run(locals())
