"""Run a job on synthetic data securely and in plaintext, and say how far apart they are.

Three columns: the secure run; *its own model* measured by scikit-learn on the same rows, which
shows the evaluation's arithmetic alone; and the same training in float64 by torch.optim.SGD, batch
for batch, measured by scikit-learn, which shows training and evaluation together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional

from tallystick import local
from tallystick.job import Job
from tallystick.local.results import write_json
from tallystick.models.linear import LINEAR_MODELS, WEIGHTS
from tallystick.parity import metrics, synthetic
from tallystick.parity.joined import Joined
from tallystick.runtime.errors import ConfigError
from tallystick.tables import split

EVALUATION = 1e-3
"""How far the evaluation's arithmetic may be off, beside one row that falls on the other side of a
threshold by rounding."""
TRAINING = 0.02
"""How far apart training in fixed point and in float64 may end."""
_RATIOS = ("r2", "explained_variance", "mape")


@dataclass(frozen=True, slots=True)
class Parity:
    """The three columns."""

    rows: int
    """Test rows."""
    unit: float
    """The label's deviation, for errors that are in its unit; else 1."""
    secure: Mapping[str, float]
    same_model: Mapping[str, float]
    same_training: Mapping[str, float]

    def within(self, name: str) -> tuple[bool, bool]:
        """Say whether a metric's two differences are as small as they should be."""
        unit = self.unit if name not in _RATIOS else 1.0
        return (
            abs(self.secure[name] - self.same_model[name]) <= (EVALUATION + 2 / self.rows) * unit,
            abs(self.secure[name] - self.same_training[name]) <= (TRAINING + 2 / self.rows) * unit,
        )

    @property
    def names(self) -> list[str]:
        """The metrics that all three columns have."""
        return [name for name in self.secure if name in self.same_model]

    @property
    def holds(self) -> bool:
        """Whether all differences are as small as they should be."""
        return all(all(self.within(name)) for name in self.names)

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
                    "same_training_in_plaintext": self.same_training[name],
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
    if job.params.get("model") not in LINEAR_MODELS:
        raise ConfigError(
            f"parity knows the models {', '.join(LINEAR_MODELS)}, not {job.params.get('model')!r}"
        )
    local.workspace.Workspace(out, [*job.parties, job.dealer]).close()
    copy = Job.load(synthetic.write_job(job, out / "synthetic", rows))
    summary = local.run(copy, out, console)
    if summary.error:
        return summary
    joined = Joined.of(out / party for party in job.parties)
    threshold = job.params.get("threshold", 0.5)
    assert isinstance(threshold, int | float)
    parity = Parity(
        rows=len(joined.test_rows),
        unit=float(joined.joint["label"].get("deviation", 1.0)),
        secure=summary.metrics,
        same_model=_measure(joined, joined.parameters[WEIGHTS], threshold),
        same_training=_measure(joined, _train(joined), threshold),
    )
    write_json(out / "parity.json", parity.as_json())
    return parity


def show(parity: Parity, console: Console) -> None:
    """Print the comparison."""
    table = Table(
        "metric", "secure", "same model", "off by", "same training", "off by", "", box=None
    )
    for name in parity.names:
        secure, model, training = (
            column[name] for column in (parity.secure, parity.same_model, parity.same_training)
        )
        within = parity.within(name)
        table.add_row(
            name,
            f"{secure:.5f}",
            f"{model:.5f}",
            f"{secure - model:+.1e}",
            f"{training:.5f}",
            f"{secure - training:+.1e}",
            "ok" if all(within) else "[red]TOO FAR[/red]",
        )
    console.print()
    console.print(table)
    console.print(
        "\nSame model: the secure run's own model, measured by scikit-learn on the same rows. Same "
        f"training: repeated in float64 by torch.\nAllowed: {EVALUATION + 2 / parity.rows:.1e} "
        f"and {TRAINING + 2 / parity.rows:.1e} of the label's unit.",
        highlight=False,
    )


def _train(joined: Joined) -> Tensor:
    """Repeat the training: the same start, batches and steps, in float64."""
    training, model = joined.joint["training"], joined.joint["model"]
    rows = joined.train_rows
    features = _with_ones(joined.features[rows])
    label = torch.from_numpy(joined.label[rows])
    weights = torch.zeros(features.shape[1], 1, dtype=torch.float64, requires_grad=True)
    penalised = torch.ones_like(weights).detach()
    penalised[-1] = 0
    optimiser = torch.optim.SGD(
        [weights], lr=training["learning_rate"], momentum=training["momentum"]
    )
    for epoch in range(training["epochs"]):
        for batch in split.batches(len(rows), training["batch_size"], training["seed"], epoch):
            optimiser.zero_grad()
            scores = (features[batch] @ weights).squeeze(1)
            penalty = training["l2"] / 2 * (weights * penalised).square().sum()
            (_loss(model, scores, label[batch]) + penalty).backward()
            optimiser.step()
    return weights.detach()


def _loss(model: str, scores: Tensor, label: Tensor) -> Tensor:
    match model:
        case "logistic_regression":
            return functional.binary_cross_entropy_with_logits(scores, label)
        case "linear_svm":
            return (1 - (2 * label - 1) * scores).clamp(min=0).mean()
    return ((scores - label) ** 2 / 2).mean()


def _measure(joined: Joined, weights: Tensor, threshold: float) -> dict[str, float]:
    rows = joined.test_rows
    scores = (_with_ones(joined.features[rows]) @ weights).squeeze(1).numpy()
    label, about = joined.label[rows], joined.joint["label"]
    if joined.joint["model"] == "linear_regression":
        deviation, mean = about["deviation"], about["mean"]
        return metrics.regression(scores * deviation + mean, label * deviation + mean)
    return metrics.binary(
        scores,
        label.astype(np.int64),
        threshold=threshold,
        probabilities=joined.joint["model"] == "logistic_regression",
    )


def _with_ones(features: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.hstack([features, np.ones((len(features), 1))]))
