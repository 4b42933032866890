"""One party's side of measuring a model that is there already, on any table that has the label."""

from tallystick.encode.component import encode
from tallystick.evaluate.component import evaluate
from tallystick.psi.component import psi

from pipelines import parameters
from pipelines.direct import any_layout
from pipelines.recipe import Given, Tasks, group, recipe


@group
def measured(prepared: str = "", standardise: bool = False, evaluate_rows: str = "all") -> None:
    """What is not as it is for a training.

    Args:
        prepared: Path of this party's folder prepared of the run that trained the model: rows are
            prepared as they were there. Empty at all parties for a preparation that is fitted to
            these rows, as for a model that a party brings.
        standardise: Whether numbers are brought to mean 0 and deviation 1, where prepared is empty
            and preparation does not say otherwise.
        evaluate_rows: Which rows to measure the model on: all, or of the split test or validation.
    """


EVALUATION = (
    parameters.run,
    parameters.table,
    parameters.encoding,
    parameters.finished_model,
    parameters.evaluation,
    parameters.pods,
    measured,
)


def measure(tasks: Tasks, given: Given, shares: object) -> None:
    """Add the evaluation of a model that these tasks do not train."""
    tasks.add(
        evaluate,
        shares=shares,
        rows=given["evaluate_rows"],
        trained_folder=given["trained"],
        without=("trained",),
    )


@recipe("evaluation", *EVALUATION, parameters.matching)
def evaluation(given: Given) -> None:
    """Measure a model on the rows that all parties hold; only agreed totals are opened.

    The model is one of an earlier run (trained and prepared), or one that a single party owns
    (model_owner). This is one party's side. Every party submits this package in its own Kubeflow,
    with the same values but for party, data, reading, preparation, images, trained, prepared,
    model_file, architecture and what stands from join_timeout_s on.
    """
    tasks = Tasks(given)
    matched = tasks.add(psi, result="all", receiver="")
    without = ("data", "reading")
    encoded = tasks.add(encode, aligned=matched["aligned"], model="", without=without)
    measure(tasks, given, encoded["shares"])


@recipe("direct-evaluation", *EVALUATION, any_layout)
def direct_evaluation(given: Given) -> None:
    """Measure a model on images, or on rows that need no matching; only totals are opened.

    The model is one of an earlier run (trained and prepared), or one that a single party owns
    (model_owner). This is one party's side. Every party submits this package in its own Kubeflow,
    with the same values but for party, data, reading, trained, prepared, model_file, architecture
    and what stands from join_timeout_s on, and with layout vertical also preparation and images.
    """
    tasks = Tasks(given)
    measure(tasks, given, tasks.add(encode, model="")["shares"])
