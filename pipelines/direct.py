"""One party's side of the whole job where rows need no matching: no psi."""

from typing import Any

from tallystick.encode.component import encode

from pipelines import parameters
from pipelines.recipe import Given, Tasks, group, recipe
from pipelines.training import FROM_SHARES, learn


@group
def any_layout(
    data: str,
    layout: str,
    label: str,
    id_columns: list[str] = [],
    images: dict[str, Any] = {},
) -> None:
    """Rows as they lie.

    Args:
        data: This party's own table (CSV or Parquet) or images (a folder, IDX, NPY, NPZ).
            It never leaves the party.
        layout: horizontal for different rows of the same columns, vertical for different columns of
            the same rows in the same order.
        label: Name of the column to predict. With layout vertical exactly one party holds it.
        id_columns: Names of the columns that identify a row, if there are any. They are not shared,
            and with layout vertical they must be the same in the same order at every party.
        images: What is done to images: size, colour, mean, deviation; and labels, a file of them.
    """


@recipe("direct", parameters.run, parameters.table, parameters.encoding, any_layout, *FROM_SHARES)
def direct(given: Given) -> None:
    """Train and evaluate one model on tables that need no matching; no row is shown.

    Parties hold different rows of the same columns (layout horizontal), as branches of one bank do,
    or different columns of the same rows in the same order (layout vertical), as images here and
    their labels there.

    This is one party's side. Every party submits this package in its own Kubeflow, with the same
    values but for party, data, reading, checkpoints, the place of warm_start, agree_to_export,
    tell_preparation, formats, register_as and what stands from join_timeout_s on, and with layout
    vertical also preparation and images.
    """
    tasks = Tasks(given)
    learn(tasks, given, tasks.add(encode)["shares"])
