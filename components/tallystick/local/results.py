"""What a run leaves behind for people and programs: the summary, and each party's own results."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.job import Job
from tallystick.local.failures import Failure
from tallystick.local.record import Record
from tallystick.local.workspace import Workspace

# The step whose results are the job's metrics, and the artifacts that are copied out for people.
METRICS_STEP = "evaluate"
ROWS = "rows_matched"
REPORT = "*/evaluate/report"
MODEL = "*/export/exported"
ALIGNED = "*/psi/aligned/aligned.parquet"
PREDICTIONS = "*/predict/predictions/predictions.parquet"
TRAINED = "*/train/trained"
PREPARATION = "*/encode/shares/preparation.json"
# A job of these steps alone is done for the sake of the aligned table.
MATCHING_STEPS = {"psi"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """How a run went."""

    session: str
    folder: Path
    """Where the results are."""
    rows_matched: int | None
    metrics: Mapping[str, float]
    seconds: Mapping[str, float]
    """How long each step took, at the slowest party."""
    error: Failure | None
    """Why it failed, if it did."""

    @property
    def status(self) -> str:
        """``succeeded`` only when every party finished; or else ``failed``."""
        return "failed" if self.error else "succeeded"

    @property
    def exit_code(self) -> int:
        """The code of the error's kind; 0 without one."""
        return self.error.exit_code if self.error else 0

    def as_json(self) -> dict[str, Any]:
        """Return what ``summary.json`` holds."""
        error = self.error
        return {
            "session": self.session,
            "status": self.status,
            "rows_matched": self.rows_matched,
            "metrics": dict(self.metrics),
            "seconds": dict(self.seconds),
            "error": error
            and {
                "party": error.party or None,
                "step": error.step or None,
                "kind": error.kind,
                "message": error.message,
            },
        }


def publish(job: Job, record: Record, workspace: Workspace, error: Failure | None) -> Summary:
    """Write every party's results and then the summary, which is there only once all else is."""
    for party in job.parties:
        _publish_party(job, record, workspace.of(party), party)
        if error is None:
            _publish_for_prediction(workspace.of(party))
    results = [record.steps[party] for party in job.parties]
    metrics = next((s[METRICS_STEP].results for s in results if METRICS_STEP in s), {})
    rows = [
        step.results[ROWS] for steps in results for step in steps.values() if ROWS in step.results
    ]
    seconds: dict[str, float] = {}
    for steps in results:
        for name, step in steps.items():
            if step.status != "waiting":
                seconds[name] = round(max(seconds.get(name, 0.0), step.seconds), 3)
    summary = Summary(
        session=job.session,
        folder=workspace.folder,
        rows_matched=int(rows[0]) if rows else None,
        metrics=metrics,
        seconds=seconds,
        error=error,
    )
    write_json(workspace.summary, summary.as_json())
    return summary


def _publish_party(job: Job, record: Record, folder: Path, party: str) -> None:
    steps = record.steps[party]
    write_json(
        folder / "reveals.json",
        [{"step": name, **reveal} for name, step in steps.items() for reveal in step.reveals],
    )
    if METRICS_STEP in steps and steps[METRICS_STEP].results:
        write_json(folder / "metrics.json", dict(steps[METRICS_STEP].results))
    for report in (folder / "pipeline").glob(REPORT):
        shutil.copyfile(report, folder / "report.html")
    if steps.keys() == MATCHING_STEPS:
        for table in (folder / "pipeline").glob(ALIGNED):
            shutil.copyfile(table, folder / "aligned.parquet")
    for table in (folder / "pipeline").glob(PREDICTIONS):
        shutil.copyfile(table, folder / "predictions.parquet")
    receivers = job.arguments(party).get("export_to")
    if isinstance(receivers, list) and party in receivers:
        for model in (folder / "pipeline").glob(MODEL):
            shutil.copytree(model, folder / "model")


def _publish_for_prediction(folder: Path) -> None:
    """Copy out what a later job of prediction begins with."""
    for model in (folder / "pipeline").glob(TRAINED):
        shutil.copytree(model, folder / "trained")
    for preparation in (folder / "pipeline").glob(PREPARATION):
        (folder / "prepared").mkdir()
        shutil.copyfile(preparation, folder / "prepared" / preparation.name)


def write_json(path: Path, value: object) -> None:
    """Write a JSON file whole or not at all."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
