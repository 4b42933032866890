"""The KFP definition of the step ``encode``."""

from typing import Any

from kfp import dsl

from tallystick import images as image_references


@dsl.component(base_image=image_references.PARTY, install_kfp_package=False)
def encode(
    party: str,
    session: str,
    id_columns: list[str],
    label: str,
    label_kind: str,
    label_classes: list[str],
    tell_classes: bool,
    model: str,
    preparation: dict[str, Any],
    standardise: bool,
    group: str,
    split_by: str,
    split_column: str,
    test_fraction: float,
    validation_fraction: float,
    seed: int,
    images: dict[str, Any],
    consortium: str,
    identity: str,
    join_timeout_s: int,
    shares: dsl.Output[dsl.Dataset],
    reveals: dsl.Output[dsl.Markdown],
    layout: str = "vertical",
    data: str = "",
    reading: dict[str, Any] = {},  # noqa: B006  KFP takes it as it is written here.
    aligned: dsl.Input[dsl.Dataset] = None,
    prepared: str = "",
) -> None:
    """Turn the rows of all parties into secret shares on disk.

    Each party prepares its own columns and splits every number into random-looking shares, one
    for each party. Parties learn the names and owners of each other's columns and the number of
    rows, and no value. Rows come from psi (aligned), or, where they need no matching, from data.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        id_columns: Names of the columns that identify a row. They are not shared.
        label: Name of the column to predict.
        label_kind: binary, classes or number; auto if the model or the values decide.
        label_classes: Names of the label's classes in their order, where all parties may know them.
        tell_classes: Whether the label's owner tells all parties what its classes are called.
        model: Name of the model that the shares are for, which says what the label may hold; empty
            where the label's values say it.
        preparation: What is done to this party's columns: keep, drop, numbers, categories, dates,
            columns. Empty for what suits an ordinary table.
        standardise: Whether numbers are brought to mean 0 and deviation 1, unless preparation says
            otherwise.
        group: A column that says which group a row belongs to, for evaluation by group; or empty.
        split_by: seed, time (the latest rows test) or stratify (each part has the same portion of
            each class).
        split_column: The column to split by, where split_by is time; one party holds it.
        test_fraction: The part of the rows held out for evaluation, between 0 and 1.
        validation_fraction: The part of the rows held out to choose between models.
        seed: Decides which rows are held out, the same at every party.
        images: What is done to images: size, colour, mean, deviation, labels, folder, column.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        layout: vertical if parties hold different columns of the same rows, horizontal if they hold
            different rows of the same columns.
        data: This party's table or images, where rows need no matching.
        reading: How data is written, where it does not show it itself.
        aligned: This party's matching rows, from psi.
        prepared: Path of the folder with this party's preparation.json of an earlier run (its
            shares artifact): columns and label are prepared as they were then. Empty to fit a
            preparation to these rows.
        shares: This party's share of every feature and of the label.
        reveals: Every value that was opened: to whom, how many, and why.
    """
    from tallystick.encode import step

    step.run(locals())
