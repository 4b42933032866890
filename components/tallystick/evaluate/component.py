"""The KFP definition of the step ``evaluate``."""

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def evaluate(
    party: str,
    session: str,
    shares: dsl.Input[dsl.Dataset],
    rows: str,
    threshold: float,
    threshold_rule: str,
    min_count: int,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    reveals: dsl.Output[dsl.Markdown],
    trained: dsl.Input[dsl.Model] = None,
    trained_folder: str = "",
    model_owner: str = "",
    model_file: str = "",
    architecture: str = "",
    feature_shape: list[int] = [],  # noqa: B006  KFP takes it as it is written here.
) -> None:
    """Measure the model on shared rows; only agreed totals are opened.

    Every party learns the metrics and the totals that they are made of: counts of right and wrong
    decisions, and of rows in buckets of similar scores. No total speaks of fewer rows than
    min_count. No party sees a score, a label or the order of rows.

    The model comes from train, in this run (trained) or in an earlier one (trained_folder), or
    from a single party that owns it (model_owner): then its weights are shared as rows are, and
    its architecture becomes known to all parties.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        shares: This party's share of the held-out rows, from encode.
        rows: Which rows to measure on: test, validation, or all (of a new table).
        threshold: A row is called positive if its probability is above it.
        threshold_rule: How a second threshold is picked from the curve: youden or f1.
        min_count: The least number of rows that an opened total may speak of.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        metrics: The metrics, each a number.
        confusion: The confusion matrix of a classifier, and the ROC curve of one with two classes.
        report: The evaluation as one page: curves, tables, what was revealed, how it was made.
        reveals: Every value that was opened: to whom, how many, and why.
        trained: This party's share of the model, from train.
        trained_folder: Path of this party's share of a model from an earlier run.
        model_owner: The party that owns the model; empty for one that train left shared.
        model_file: Path of the model at its owner (ONNX, exported torch program, safetensors,
            state_dict); empty elsewhere.
        architecture: Name of the network, or file.py:Class, where the model's file is a state_dict.
        feature_shape: The shape that the owner's model sees a row in; empty for that of the shares.
    """
    from tallystick.evaluate import step

    step.run(locals())
