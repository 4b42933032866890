"""One party's side of the whole job: from its own table to a model on everybody's columns."""

from tallystick.encode.component import encode
from tallystick.evaluate.component import evaluate
from tallystick.export.component import export
from tallystick.psi.component import psi
from tallystick.train.component import train

from pipelines import parameters
from pipelines.recipe import Given, Tasks, recipe

FROM_SHARES = (parameters.learning, parameters.evaluation, parameters.exporting, parameters.pods)
"""What :func:`learn` and its tasks take."""
TRAINING = (
    parameters.run,
    parameters.table,
    parameters.matching,
    parameters.encoding,
    *FROM_SHARES,
)


def learn(tasks: Tasks, given: Given, shares: object) -> None:
    """Add what follows the shares: training, evaluation, export."""
    trained = tasks.add(train, shares=shares)["trained"]
    rows = given["evaluate_rows"]
    # Its feature_shape is that of a model that a party brings.
    tasks.add(evaluate, shares=shares, trained=trained, rows=rows, without=("feature_shape",))
    tasks.add(export, trained=trained, prepared=shares)


@recipe("training", *TRAINING)
def training(given: Given) -> None:
    """Train and evaluate one model on the joined columns of several parties; no row is shown.

    This is one party's side. Every party submits this package in its own Kubeflow, with the same
    values but for party, data, reading, preparation, images, checkpoints, the place of warm_start,
    agree_to_export, tell_preparation, formats, register_as and what stands from join_timeout_s on.
    """
    tasks = Tasks(given)
    matched = tasks.add(psi, result="all", receiver="")
    encoded = tasks.add(encode, aligned=matched["aligned"], without=("data", "reading"))
    learn(tasks, given, encoded["shares"])
