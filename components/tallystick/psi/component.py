"""The KFP definition of the step ``psi``."""

from typing import Any

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def psi(
    party: str,
    session: str,
    data: str,
    reading: dict[str, Any],
    id_columns: list[str],
    normalise: list[str],
    on_duplicate: str,
    protocol: str,
    result: str,
    receiver: str,
    min_intersection: int,
    compare_shapes: bool,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    aligned: dsl.Output[dsl.Dataset],
    reveals: dsl.Output[dsl.Markdown],
) -> int:
    """Keep the rows whose id every party holds, in one order that all parties share.

    Unless another result is asked for, every party learns how many rows match, and which of its own
    rows they are. Nobody learns another party's other ids. The number of matching rows is this
    task's output; it is 0 at a party that does not learn it.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        data: This party's own table, CSV or Parquet: a path, a folder or an s3:// or gs:// address.
            It never leaves the party.
        reading: How this party's table is written, where the file does not show it: delimiter,
            quote, encoding, decimal, missing, types.
        id_columns: Names of the columns that together identify a row, the same at every party.
        normalise: What is done to ids before they are compared, the same at every party: some of
            nfkc, strip, case, integer.
        on_duplicate: error to refuse rows that repeat an id, first to keep the first of them.
        protocol: aided to match with the dealer's help, ecdh to match between the parties alone.
        result: all for aligned rows at every party, receiver for aligned rows at one, size for the
            number of matching rows alone.
        receiver: The party that learns, where result is receiver; empty otherwise.
        min_intersection: Stop, and write nothing, when fewer rows than this match.
        compare_shapes: Whether the parties tell each other what their ids look like (99999-AA), so
            that an error can say why too few match.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        aligned: This party's matching rows with all their columns, in the shared order, and a
            profile of its own ids.
        reveals: Every value that was opened: to whom, how many, and why.
    """
    from tallystick.psi import step

    return step.run(locals())
