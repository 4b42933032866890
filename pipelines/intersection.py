"""One party's side of private set intersection alone: whom do we share?"""

from tallystick.psi.component import psi

from pipelines import parameters
from pipelines.recipe import Given, Tasks, group, recipe


@group
def results(result: str = "all", receiver: str = "") -> None:
    """Who learns what.

    Args:
        result: all for aligned rows at every party, receiver for aligned rows at one, size for the
            number of matching rows alone.
        receiver: The party that learns, where result is receiver; empty otherwise.
    """


@recipe(
    "intersection", parameters.run, parameters.table, parameters.matching, results, parameters.pods
)
def intersection(given: Given) -> None:
    """Find the rows whose id several parties hold; no other id is shown to anybody.

    This is one party's side. Every party submits this package in its own Kubeflow, with the same
    values but for party, data, reading and what stands from join_timeout_s on.
    """
    Tasks(given).add(psi)
