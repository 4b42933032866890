"""The KFP definition of the step ``train``."""

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def train(
    party: str,
    session: str,
    shares: dsl.Input[dsl.Dataset],
    model: str,
    feature_shape: list[int],
    loss: str,
    epochs: int,
    batch_size: int,
    optimiser: str,
    learning_rate: float,
    momentum: float,
    nesterov: bool,
    schedule: str,
    warmup_epochs: int,
    decay: float,
    decay_epochs: int,
    l1: float,
    l2: float,
    clip_norm: float,
    class_weights: list[float],
    watch: str,
    patience: int,
    checkpoints: str,
    checkpoint_batches: int,
    resume: bool,
    seed: int,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    trained: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    reveals: dsl.Output[dsl.Markdown],
    warm_start: str = "",
) -> None:
    """Train one model on the shared rows; its parameters stay shared.

    The mean loss of each epoch is opened to every party (of a linear model at the epoch's end, of a
    network as its batches were taken, with Dropout), and where it is asked for one metric of the
    validation rows. No party sees a parameter, a gradient or a prediction.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        shares: This party's share of the training rows, from encode.
        model: A linear model (logistic_regression, linear_svm, linear_regression), a network
            (softmax_regression, mlp, cnn, lenet, tfe_network_a, tfe_network_b, tfe_network_c), or
            your own torch.nn.Module as package.module:Class or /path/file.py:Class.
        feature_shape: The shape that a network sees a row's features in, such as 1, 28, 28; empty
            for that of the shares.
        loss: auto for what fits the model and the label; or for two classes logistic or hinge
            (which has no probabilities), for several cross_entropy, for a number squared_error.
        epochs: How often the training rows are gone through.
        batch_size: Rows for each step of the descent.
        optimiser: sgd or adam.
        learning_rate: Length of each step of the descent.
        momentum: The part of the last step that is carried into the next, from 0 to below 1.
        nesterov: Whether the momentum looks ahead.
        schedule: How the learning rate goes: constant, step or cosine.
        warmup_epochs: Epochs in which the learning rate grows to its full length first.
        decay: What the step schedule multiplies the learning rate by.
        decay_epochs: After how many epochs it does so, each time.
        l1: Weight of the penalty on parameters that are not nought.
        l2: Weight of the penalty on large parameters.
        clip_norm: The largest norm of a gradient; 0 lets every one pass.
        class_weights: The weight of each class in the loss; empty for equal ones.
        watch: What is opened of the validation rows after each epoch: none, loss or accuracy.
        patience: Epochs without an improvement of it after which training ends; 0 for never.
        checkpoints: A folder or s3:// address that outlives this pod; empty for no checkpoints.
        checkpoint_batches: Batches between checkpoints; 0 for one at each epoch's end alone.
        resume: Whether to go on from the latest checkpoint that every party has.
        seed: Decides the order of the batches and the initial weights, the same at every party.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        trained: This party's share of the model.
        metrics: The loss of the last epoch, and what was watched.
        reveals: Every value that was opened: to whom, how many, and why.
        warm_start: Path of this party's share of a model to begin with, the folder trained of an
            earlier session, at every party; empty to begin anew.
    """
    from tallystick.train import step

    step.run(locals())
