"""Run a job on synthetic data securely and in plaintext, and say how far apart they are.

Three columns: the secure run; *its own model* measured by scikit-learn on the same rows, which
shows the evaluation's arithmetic alone; and the same training in float64 by torch's optimisers,
batch for batch, measured by scikit-learn, which shows training and evaluation together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tallystick import local
from tallystick.job import Job
from tallystick.local.results import write_json
from tallystick.parity import metrics, models, synthetic
from tallystick.parity.joined import Joined
from tallystick.runtime.errors import ConfigError

EVALUATION = 1e-3
"""How far the evaluation's arithmetic may be off, beside one row that falls on the other side of a
threshold by rounding."""
TRAINING = 0.02
"""How far apart training in fixed point and in float64 may end."""
Metrics = Mapping[str, float]
_RATIOS = ("r2", "explained_variance", "mape")


@dataclass(frozen=True, slots=True)
class Parity:
    """The three columns."""

    rows: int
    """Test rows."""
    unit: float
    """The label's deviation, for errors that are in its unit; else 1."""
    secure: Metrics
    same_model: Metrics
    same_training: Metrics | None
    """None where the job trains in a way that is not repeated here."""

    def within(self, name: str) -> bool:
        """Say whether a metric's differences are as small as they should be."""
        unit, value = (1.0 if name in _RATIOS else self.unit), self.secure[name]
        trained = self.same_training[name] if self.same_training else value
        return (
            abs(value - self.same_model[name]) <= (EVALUATION + 2 / self.rows) * unit
            and abs(value - trained) <= (TRAINING + 2 / self.rows) * unit
        )

    @property
    def names(self) -> list[str]:
        """The metrics that all three columns have."""
        return [name for name in self.secure if name in self.same_model]

    @property
    def holds(self) -> bool:
        """Whether all differences are as small as they should be."""
        return all(map(self.within, self.names))

    def as_json(self) -> dict[str, object]:
        """Return what ``parity.json`` holds."""
        return {
            "holds": self.holds,
            "test_rows": self.rows,
            "allowed": {"evaluation": EVALUATION + 2 / self.rows, "training": TRAINING},
            "metrics": {
                name: {
                    "secure": self.secure[name],
                    "same_model_in_plaintext": self.same_model[name],
                    "same_training_in_plaintext": (
                        self.same_training[name] if self.same_training else None
                    ),
                }
                for name in self.names
            },
        }


def run(job: Job, out: Path, rows: int | None, console: Console) -> Parity | local.Summary:
    """Make the data, run the job, repeat it in plaintext, and write ``parity.json``.

    Returns:
        The comparison, or the summary of the secure run where that failed.

    Raises:
        ConfigError: ``out`` cannot be used, or the job trains nothing that is known here.
    """
    if job.params.get("evaluate_rows", "test") != "test":
        raise ConfigError("parity measures on the test rows: leave evaluate_rows out of the job")
    local.workspace.Workspace(out, [*job.parties, job.dealer]).close()
    copy = Job.load(synthetic.write_job(job, out / "synthetic", rows))
    summary = local.run(copy, out, console)
    if summary.error:
        return summary
    joined = Joined.of(out / party for party in job.parties)
    again = models.repeated(joined, str(job.params.get("model", joined.joint["model"])))
    parity = Parity(
        rows=len(joined.test_rows),
        unit=float(joined.joint["label"].get("deviation", 1.0)),
        secure=summary.metrics,
        same_model=_measure(joined, models.secure(joined), job, summary.metrics),
        same_training=_measure(joined, again, job, summary.metrics) if again else None,
    )
    write_json(out / "parity.json", parity.as_json())
    return parity


def show(parity: Parity, console: Console) -> None:
    """Print the comparison."""
    table = Table(
        "metric", "secure", "same model", "off by", "same training", "off by", "", box=None
    )
    for name in parity.names:
        secure, model = parity.secure[name], parity.same_model[name]
        training = parity.same_training[name] if parity.same_training else None
        table.add_row(
            name,
            f"{secure:.5f}",
            f"{model:.5f}",
            f"{secure - model:+.1e}",
            "not repeated" if training is None else f"{training:.5f}",
            "" if training is None else f"{secure - training:+.1e}",
            "ok" if parity.within(name) else "[red]TOO FAR[/red]",
        )
    console.print()
    console.print(table)
    console.print(
        "\nSame model: the secure run's own model, measured by scikit-learn on the same rows. Same "
        f"training: repeated in float64 by torch.\nAllowed: {EVALUATION + 2 / parity.rows:.1e} "
        f"and {TRAINING + 2 / parity.rows:.1e} of the label's unit.",
        highlight=False,
    )


def _measure(joined: Joined, scores: models.Scores, job: Job, secure: Metrics) -> Metrics:
    """Measure a model on the test rows, by what the secure run measured."""
    rows, about = joined.test_rows, joined.joint["label"]
    scores_NK = scores(torch.from_numpy(joined.features[rows])).numpy()
    label = joined.label[rows]
    if about["kind"] == "number":
        deviation, mean = about["deviation"], about["mean"]
        return metrics.regression(scores_NK[:, 0] * deviation + mean, label * deviation + mean)
    if about["kind"] == "classes":
        return metrics.classes(scores_NK, label.argmax(1))
    threshold = job.params.get("threshold", 0.5)
    assert isinstance(threshold, int | float)
    return metrics.binary(
        scores_NK[:, 0],
        label.astype(np.int64),
        threshold=threshold,
        probabilities="brier" in secure,
    )
