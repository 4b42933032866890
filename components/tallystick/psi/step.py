"""Keep the rows whose id every party holds, in one common order."""

from dataclasses import dataclass
from pathlib import Path

from pyarrow import parquet

from tallystick.psi import aided
from tallystick.runtime import life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables import ids, reading

TABLE = "aligned.parquet"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the psi step is told."""

    data: Path
    """This party's CSV or Parquet file."""
    id_columns: tuple[str, ...]
    """The columns that together name a row, in the same order at every party."""
    min_intersection: int
    """With fewer matching rows the step fails and nobody learns which they are."""
    aligned: Path
    """Where the aligned artifact is written."""

    def __post_init__(self) -> None:
        """Check ranges."""
        StepConfig.__post_init__(self)
        named = all(name.strip() for name in self.id_columns)
        unique = len(set(self.id_columns)) == len(self.id_columns)
        self.require(
            bool(self.id_columns) and named and unique, "id_columns", "one or more different names"
        )
        self.require(self.min_intersection >= 1, "min_intersection", "1 or more")


@life.step("psi")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows that match.
    """
    table = reading.read(config.data, config.id_columns)
    own_ids = ids.canonical(table, config.id_columns)
    with Session.join(config, "psi") as session:
        matches = aided.intersect(session, own_ids, config.min_intersection)
        aligned = table.take(matches.positions)
        folder = session.output(config.aligned)
        folder.mkdir(parents=True, exist_ok=True)
        parquet.write_table(aligned, folder / TABLE)
        manifest = Manifest(
            kind="aligned",
            session=session.name,
            party=session.party,
            rank=session.rank,
            parties=session.parties,
            joint={
                "rows": aligned.num_rows,
                "row_order": matches.row_order,
                "id_columns": list(config.id_columns),
            },
            history=session.history(),
        )
        manifest.write(folder)
        session.agree(manifest)
        session.result(rows_matched=aligned.num_rows)
    return int(aligned.num_rows)
