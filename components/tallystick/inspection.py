"""``tallystick inspect``: an owner's look at a table, on its own terminal and nowhere else."""

import tempfile
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tallystick.job import Job
from tallystick.runtime.errors import ConfigError
from tallystick.tables import inspection
from tallystick.tables.dialect import Dialect
from tallystick.tables.image_files import holds_images, open_set
from tallystick.tables.images import ImageRules, ImageSet
from tallystick.tables.rules import Rules

MOST_COLUMNS = 200
"""A wider table is shown cut short; it is fitted whole."""


def show(location: str, job_file: Path | None, reading: str | None, console: Console) -> None:
    """Show what a table holds and what would be done to it.

    Args:
        location: of the table or the images.
        job_file: whose rules for this table are followed, rather than the defaults.
        reading: how the table is written, as YAML; beside what the job says of it.
        console: the owner's terminal.

    Raises:
        ConfigError: the job does not name this table, or a rule does not fit it.
        DataError: the table cannot be read.
    """
    given = _of_job(location, job_file) if job_file else {}
    if reading:
        given["reading"] = {**given.get("reading", {}), **_mapping(reading)}
    if holds_images(location):
        _show_images(location, ImageRules.parse(given.get("images", {})), console)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = inspection.inspect(
            location,
            id_columns=given.get("id_columns", []),
            label=given.get("label", ""),
            dialect=Dialect.parse(given.get("reading", {})),
            rules=Rules.parse(
                given.get("preparation", {}), standardise=given.get("standardise", True)
            ),
            folder=Path(folder),
        )
    table = Table(
        "column",
        "type",
        "kind",
        "missing",
        "different",
        "what it becomes",
        box=None,
        pad_edge=False,
    )
    for column in found.columns[:MOST_COLUMNS]:
        table.add_row(
            escape(column.name),
            column.type,
            "label" if column.name == found.label else column.kind or "[red]none[/red]",
            f"{column.missing / found.rows:.1%}" if column.missing else "",
            f"{column.different:,}",
            "is what is learnt" if column.name == found.label else escape(column.becomes),
        )
    features = sum(c.features for c in found.columns if c.name != found.label)
    console.print(
        f"[bold]{escape(found.name)}[/bold]: {found.rows:,} rows, {len(found.columns):,} columns, "
        f"which become {features:,} features"
    )
    console.print(table)
    if len(found.columns) > MOST_COLUMNS:
        console.print(f"and {len(found.columns) - MOST_COLUMNS:,} columns more")
    if (better := found.better(given.get("reading", {}))) != given.get("reading", {}):
        console.print(
            "\nSome columns look like something else than what they were read as: numbers, dates, "
            "or codes with leading zeros. With this the table is read so; look whether it is meant "
            "so:"
        )
        line = f"reading: {inspection.flow(better)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if job_file is None:
        console.print("\nA job file to begin with; only you have seen what is above:\n")
        console.print(found.job(location, given), markup=False, highlight=False, soft_wrap=True)


def _show_images(location: str, rules: ImageRules, console: Console) -> None:
    found = open_set(location, rules)
    if not isinstance(found, ImageSet):
        console.print(f"{len(found):,} labels, {len(found.unique())} of them different")
        return
    channels, height, width = found.shape
    console.print(f"{found.rows:,} images of {channels} x {height} x {width} (C x H x W)")
    if found.labels is not None:
        console.print(f"with labels of {len(found.labels.unique())} classes")


def _mapping(reading: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(reading)
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise ConfigError("--reading must be a mapping, such as '{encoding: latin-1}'")
    return found


def _of_job(location: str, job_file: Path) -> dict[str, Any]:
    """Return the parameters of the party whose table this is."""
    job = Job.load(job_file)
    place = Path(location).resolve()
    for party in job.parties:
        found = job.arguments(party)
        if str(found["data"]) == location or Path(str(found["data"])).resolve() == place:
            return dict(found)
    raise ConfigError(f"{job_file}: no party's data is {location!r}; inspect one that it names")
