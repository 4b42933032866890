"""One party's side of prediction: a model applied to new rows, matched by their ids or not."""

from typing import Any

from tallystick.predict.component import predict
from tallystick.psi.component import psi

from pipelines import parameters
from pipelines.recipe import Given, Tasks, group, recipe


@group
def answers(receiver: str, output: str = "class", class_names: str = "") -> None:
    """Who learns what.

    Args:
        receiver: The party that learns the predictions, joined to its ids.
        output: What is predicted: class, probability or score.
        class_names: Path of a text file at the receiver with a name for each class, one a line.
    """


@group
def any_rows(
    data: str = "",
    images: dict[str, Any] = {},
    id_columns: list[str] = [],
) -> None:
    """Rows as they lie.

    Args:
        data: Path of this party's table or images, such as /data/scans.npy; empty if it has none.
        images: What is done to images, as it was for training: size, colour, mean, deviation.
        id_columns: Names of the columns that identify a row of a table; with none, its number does.
    """


PREDICTION = (parameters.run, parameters.table, answers, parameters.finished_model, parameters.pods)


@recipe("prediction", *PREDICTION, parameters.matching)
def prediction(given: Given) -> None:
    """Predict for the rows that all parties hold; the results open to one party, by its ids.

    This is one party's side. Every party submits this package in its own Kubeflow, with the same
    values but for party, data, reading, trained, prepared, model_file, architecture, class_names
    and what stands from join_timeout_s on.
    """
    tasks = Tasks(given)
    matched = tasks.add(psi, result="all", receiver="")
    tasks.add(predict, aligned=matched["aligned"], without=("data", "reading"))


@recipe("direct-prediction", *PREDICTION, any_rows)
def direct_prediction(given: Given) -> None:
    """Predict for images, or for rows that need no matching; the results open to one party.

    One party may hold the model, another the images, and a third the names of the classes. This is
    one party's side. Every party submits this package in its own Kubeflow, with the same values but
    for party, data, reading, images, trained, prepared, model_file, architecture, class_names and
    what stands from join_timeout_s on.
    """
    Tasks(given).add(predict)
