"""A room for trainings: shares made from plain arrays, the train step at each party, and the twin.

The twin is the same training in plaintext: torch's optimisers and autograd, the same initial
weights, batches and coins.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from tallystick import tracking
from tallystick.models import architectures, artifact, plain
from tallystick.models.coins import Coins
from tallystick.models.graph import Graph
from tallystick.runtime.engine import decode, encode
from tallystick.runtime.manifest import Manifest
from tallystick.tables import shares, split
from tallystick.train import step
from tallystick.train.optimisers import adam_eps
from tallystick.train.schedule import Schedule
from torch import Tensor

from tests import harness
from tests.e2e import running

# So that no party has to import what the converter needs; of no effect once a party was forked.
harness._forked.set_forkserver_preload(["tests.harness", "tests.train.room"])
DEFAULTS: Mapping[str, Any] = {
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.1,
    "momentum": 0.0,
    "l2": 0.0,
    "seed": 3,
}


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the parties hold together; no party could make it."""

    features: Tensor
    label: Tensor
    """[N] of classes or numbers."""
    kind: str
    validation: int = 0
    """How many of the last rows validate."""

    @property
    def classes(self) -> int:
        return int(self.label.max()) + 1 if self.kind == "classes" else 2

    @property
    def targets(self) -> Tensor:
        """The label as it is shared."""
        if self.kind == "classes":
            return functional.one_hot(self.label.long(), self.classes).double()
        return self.label.double()

    @property
    def parts(self) -> split.Split:
        rows = len(self.features)
        validation = range(rows - self.validation, rows)
        return split.Split.of(rows, test=np.array([], dtype=np.int64), validation=validation)

    @property
    def train(self) -> int:
        return len(self.features) - self.validation


def write(rows: Rows, place: harness.Place, folder: Path) -> None:
    """Write each party's shares of the rows."""
    joint = {
        "rows": len(rows.features),
        "row_order": "00" * 32,
        "columns": [
            {"name": f"alice.x{i}", "owner": "alice"} for i in range(rows.features[0].numel())
        ],
        "feature_shape": list(rows.features.shape[1:]),
        "label": {"name": "y", "owner": "bob", "kind": rows.kind, "classes": rows.classes},
        "group": None,
        "precision_bits": 16,
        "standardised": False,
        "fitted_by": "test-1/00",
        "as_they_are": True,
        "split": {"digest": rows.parts.digest()},
    }
    features, label = _shared(rows.features, place), _shared(rows.targets, place)
    for rank, party in enumerate(place.parties):
        manifest = Manifest(
            kind="shares",
            session="test-1",
            party=party,
            rank=rank,
            parties=place.parties,
            joint=joint,
        )
        target = folder / party / "shares"
        shares.write(target, features[rank], label[rank], rows.parts, manifest)


def _shared(values: Tensor, place: harness.Place) -> list[Tensor]:
    rng = np.random.default_rng(0)
    random = [
        torch.from_numpy(rng.integers(-(2**63), 2**63, size=values.shape, dtype=np.int64))
        for _ in place.parties[1:]
    ]
    return [encode(values) - sum(random), *random]


class Training:
    """One start of the train step at every party.

    Args:
        place: where.
        folder: with each party's shares.
        config: the step's parameters.
        only: parameters of single parties.
    """

    def __init__(
        self,
        place: harness.Place,
        folder: Path,
        config: Mapping[str, Any],
        only: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.folder = folder
        self.processes = {}
        for party in place.parties:
            own = folder / party
            log = own / "train.log"
            log.unlink(missing_ok=True)
            arguments = {
                "party": party,
                "session": "test-1",
                "consortium": place.consortium,
                "identity": place.identity(party),
                "join_timeout_s": 120,
                "reveals": own / "train.md",
                "shares": own / "shares",
                "trained": own / "trained",
                **DEFAULTS,
                **config,
                **(only or {}).get(party, {}),
            }
            self.processes[party] = harness.Process(place, _side, arguments, log=log)

    def end(self, timeout_s: float = 200) -> dict[str, int | None]:
        """Wait for all and return their exit codes."""
        codes = {party: process.wait(timeout_s) for party, process in self.processes.items()}
        for process in self.processes.values():
            process.end()
        return codes

    def finish(self, timeout_s: float = 200) -> dict[str, Tensor]:
        """Wait for a good end and return the opened model."""
        codes = self.end(timeout_s)
        assert set(codes.values()) == {0}, "\n".join(map(self.log, codes))
        return model(self.folder, codes)

    def log(self, party: str) -> str:
        return (self.folder / party / "train.log").read_text()

    def events(self, party: str, kind: str) -> list[dict[str, Any]]:
        return [event for event in running.events(self.log(party)) if event["event"] == kind]

    def kill(self) -> None:
        for process in self.processes.values():
            process.end()


def model(folder: Path, parties: Iterable[str]) -> dict[str, Tensor]:
    """Open the model that the parties have trained."""
    models = [artifact.read(folder / party / "trained") for party in parties]
    return {
        name: decode(sum((m.parameters[name] for m in models), torch.tensor(0)))
        for name in models[0].parameters
    }


class _Metrics:
    def log_metric(self, name: str, value: float) -> None:
        assert isinstance(value, float), name


class _Silent:
    """Instead of MLflow, whose import takes seconds."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@contextlib.contextmanager
def _no_tracking(**_: str) -> Iterator[_Silent]:
    yield _Silent()


def _side(arguments: dict[str, Any]) -> None:
    tracking.run = _no_tracking  # type: ignore[assignment]
    step.run({**arguments, "metrics": _Metrics()})


@dataclass
class Twin:
    """The plaintext training."""

    graph: Graph
    parameters: dict[str, Tensor]
    losses: list[float] = field(default_factory=list)

    def scores(self, features: Tensor) -> Tensor:
        with torch.no_grad():
            return plain.run(self.graph, self.parameters, features.double())


def twin(rows: Rows, config: Mapping[str, Any], start: Mapping[str, Tensor] | None = None) -> Twin:
    """Train in plaintext, by torch's own optimisers, in float64; from a model, if there is one."""
    config = {**DEFAULTS, **config}
    outputs = rows.classes if rows.kind == "classes" else 1
    shape = tuple(config.get("feature_shape") or rows.features.shape[1:])
    graph, parameters = architectures.build(config["model"], shape, outputs, config["seed"])
    if start is not None:
        parameters = {name: start[name].detach().clone() for name in parameters}
    trained = Twin(graph, parameters)
    weights = [parameters[name].requires_grad_() for name in graph.parameters]
    optimiser = _optimiser(config, weights)
    batches = -(-rows.train // config["batch_size"])
    schedule = Schedule(
        name=config.get("schedule", "constant"),
        learning_rate=config["learning_rate"],
        epochs=config["epochs"],
        batches=batches,
        warmup_epochs=config.get("warmup_epochs", 0),
        decay=config.get("decay", 0.1),
        decay_epochs=config.get("decay_epochs", 10),
    )
    for epoch in range(config["epochs"]):
        total = 0.0
        drawn = split.positions(rows.train, config["batch_size"], config["seed"], epoch)
        for number, batch in enumerate(drawn):
            coins = Coins(config["seed"], epoch, number)
            features = rows.features[batch].double().reshape(-1, *shape)
            scores = plain.run(graph, parameters, features, training=True, coins=coins)
            loss = of_rows(rows, config, scores, batch).sum()
            total += float(loss.detach())
            optimiser.zero_grad()
            (loss / len(batch)).backward()
            if config.get("clip_norm"):
                torch.nn.utils.clip_grad_norm_(weights, config["clip_norm"])
            for weight in weights:
                if weight.dim() > 1:
                    assert weight.grad is not None
                    weight.grad += config["l2"] * weight.detach()
                    weight.grad += config.get("l1", 0.0) * weight.detach().sign()
            for group in optimiser.param_groups:
                group["lr"] = schedule.rate(epoch, number)
            optimiser.step()
        trained.losses.append(total / rows.train)
    return trained


def _optimiser(config: Mapping[str, Any], weights: list[Tensor]) -> torch.optim.Optimizer:
    if config.get("optimiser") == "adam":
        eps = adam_eps(config["batch_size"], config.get("class_weights", ()))
        return torch.optim.Adam(weights, lr=1.0, eps=eps)
    return torch.optim.SGD(
        weights, lr=1.0, momentum=config["momentum"], nesterov=config.get("nesterov", False)
    )


def of_rows(rows: Rows, config: Mapping[str, Any], scores: Tensor, batch: Any) -> Tensor:
    """The loss of each row."""
    label = rows.label[batch]
    weights = torch.tensor(config.get("class_weights") or [1.0] * rows.classes).double()
    match config.get("loss", "auto"), rows.kind:
        case _, "classes":
            loss = functional.cross_entropy(scores, label.long(), reduction="none")
        case "hinge", _:
            loss = (1 - (2 * label.double() - 1) * scores.squeeze(1)).clamp(min=0)
        case _, "number":
            loss = (scores.squeeze(1) - label) ** 2 / 2
        case _:
            loss = functional.binary_cross_entropy_with_logits(
                scores.squeeze(1), label.double(), reduction="none"
            )
    return loss if rows.kind == "number" else loss * weights[label.long()]
