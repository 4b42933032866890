"""The KFP definition of the step ``predict``."""

from typing import Any

from kfp import dsl

from tallystick.images import PARTY


@dsl.component(base_image=PARTY, install_kfp_package=False)
def predict(
    party: str,
    session: str,
    receiver: str,
    output: str,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    predictions: dsl.Output[dsl.Dataset],
    reveals: dsl.Output[dsl.Markdown],
    trained: str = "",
    model: dsl.Input[dsl.Model] = None,
    prepared: str = "",
    shares: dsl.Input[dsl.Dataset] = None,
    model_owner: str = "",
    model_file: str = "",
    architecture: str = "",
    feature_shape: list[int] = [],  # noqa: B006  KFP takes it as it is written here.
    class_names: str = "",
    id_columns: list[str] = [],  # noqa: B006  KFP takes it as it is written here.
    data: str = "",
    reading: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    images: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    aligned: dsl.Input[dsl.Dataset] = None,
) -> None:
    """Apply a model to new rows; the predictions open to one party, joined to its ids.

    The model is one that train left shared, or one that a single party owns: then its weights are
    shared as rows are, and its architecture becomes known to all parties. Nobody sees another
    party's rows; nobody but the receiver sees a prediction.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        receiver: The party that learns the predictions.
        output: class, probability (of a model with a hinge there is none) or score.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        predictions: A Parquet file with one row for each row, at the receiver alone.
        reveals: Every value that was opened: to whom, how many, and why.
        trained: Path of this party's share of the model, the folder that train wrote; empty if it
            comes as model, or a party owns the model.
        model: This party's share of the model, from a train task of the same pipeline.
        prepared: Path of the folder with this party's preparation.json (its shares artifact from
            the encode that trained the model), by which new rows are prepared; empty if it comes
            as shares, or if rows are numbers or images that reached the training as they are.
        shares: The same, from an encode task of the same pipeline.
        model_owner: The party that owns the model; empty for one that train left shared.
        model_file: Path of the model at its owner (ONNX, exported torch program, safetensors,
            state_dict); empty elsewhere.
        architecture: Name of the network, or file.py:Class, where the model's file is a state_dict.
        feature_shape: The shape of one row where a party owns the model, such as 3, 224, 224.
        class_names: Path of a text file at the receiver with a name for each class, one a line.
        id_columns: Names of the columns that identify a row; the receiver's stand in its result.
        data: This party's table or images, where rows need no matching; empty if it has none.
        reading: How data is written, where it does not show it itself.
        images: What is done to images, as it was for training: size, colour, mean, deviation.
        aligned: This party's matching rows, from psi.
    """
    from tallystick.predict import step

    step.run(locals())
