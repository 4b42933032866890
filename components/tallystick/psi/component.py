"""The KFP definition of the step ``psi``."""

from kfp import dsl

from tallystick import images


@dsl.component(base_image=images.PARTY, install_kfp_package=False)
def psi(
    party: str,
    session: str,
    data: str,
    id_columns: list[str],
    min_intersection: int,
    consortium: str,
    identity: str,
    join_timeout_s: int,
    aligned: dsl.Output[dsl.Dataset],
    reveals: dsl.Output[dsl.Markdown],
) -> int:
    """Keep the rows whose id every party holds, in one order that all parties share.

    Every party learns how many rows match, and which of its own rows they are. Nobody learns
    another party's other ids. The number of matching rows is this task's output.

    Args:
        party: The name of the party that runs this task, as the consortium file spells it.
        session: The name of this joint run, the same at every party.
        data: Path of this party's own table, CSV or Parquet. It never leaves the party.
        id_columns: Names of the columns that together identify a row, the same at every party.
        min_intersection: Stop, and write nothing, when fewer rows than this match.
        consortium: Path of the consortium file: who takes part, where, by which certificate.
        identity: Path of the folder with this party's tls.key and tls.crt.
        join_timeout_s: How long to wait for the other parties to come, in seconds.
        aligned: This party's matching rows with all their columns, in the shared order.
        reveals: Every value that was opened: to whom, how many, and why.
    """
    from tallystick.psi import step

    return step.run(locals())
