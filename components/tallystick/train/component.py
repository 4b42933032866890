"""The KFP definition of the step ``train``."""

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def train(
    party: str,
    session: str,
    shares: dsl.Input[dsl.Dataset],
    model: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    l2: float,
    seed: int,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    trained: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    reveals: dsl.Output[dsl.Markdown],
) -> None:
    """Train one model on the shared rows; its parameters stay shared.

    The mean loss of each epoch is opened to every party. No party sees a parameter, a gradient or
    a prediction.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        shares: This party's share of the training rows, from encode.
        model: Name of the model: logistic_regression, linear_svm or linear_regression.
        epochs: How often the training rows are gone through.
        batch_size: Rows for each step of the descent.
        learning_rate: Length of each step of the descent.
        momentum: The part of the last step that is carried into the next, from 0 to below 1.
        l2: Weight of the penalty on large parameters.
        seed: Decides the order of the batches, the same at every party.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        trained: This party's share of the model.
        metrics: The loss of the last epoch.
        reveals: Every value that was opened: to whom, how many, and why.
    """
    from tallystick.train import step

    step.run(locals())
