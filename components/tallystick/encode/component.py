"""The KFP definition of the step ``encode``."""

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def encode(
    party: str,
    session: str,
    aligned: dsl.Input[dsl.Dataset],
    id_columns: list[str],
    label: str,
    model: str,
    test_fraction: float,
    seed: int,
    standardise: bool,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    shares: dsl.Output[dsl.Dataset],
    reveals: dsl.Output[dsl.Markdown],
) -> None:
    """Turn the aligned columns of all parties into secret shares on disk.

    Each party prepares its own columns and splits every number into random-looking shares, one
    for each party. Parties learn the names and owners of each other's columns and the number of
    rows, and no value.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        aligned: This party's matching rows, from psi.
        id_columns: Names of the columns that identify a row. They are not shared.
        label: Name of the column to predict. Exactly one party holds it.
        model: Name of the model that the shares are for, which says what the label may hold.
        test_fraction: The part of the rows held out for evaluation, between 0 and 1.
        seed: Decides which rows are held out, the same at every party.
        standardise: Whether each owner shifts and scales its features to mean 0 and deviation 1.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        shares: This party's share of every feature and of the label.
        reveals: Every value that was opened: to whom, how many, and why.
    """
    from tallystick.encode import step

    step.run(locals())
