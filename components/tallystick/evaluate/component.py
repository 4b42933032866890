"""The KFP definition of the step ``evaluate``."""

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def evaluate(
    party: str,
    session: str,
    shares: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    consortium: str,
    identity: str,
    join_timeout_s: int,
    metrics: dsl.Output[dsl.Metrics],
    confusion: dsl.Output[dsl.ClassificationMetrics],
    report: dsl.Output[dsl.HTML],
    reveals: dsl.Output[dsl.Markdown],
) -> None:
    """Measure the model on the rows that were held out; only agreed totals are opened.

    Every party learns the metrics and the counts that they are made of. No party sees a
    prediction, nor a row of another party.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        shares: This party's share of the held-out rows, from encode.
        trained: This party's share of the model, from train.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        metrics: The metrics, each a number.
        confusion: The confusion matrix of a classifier.
        report: The metrics as one page.
        reveals: Every value that was opened: to whom, how many, and why.
    """
    from tallystick.evaluate import step

    step.run(locals())
