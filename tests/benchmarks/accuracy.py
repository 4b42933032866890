"""``python -m tests.benchmarks.accuracy MODEL PARTIES [FOLDER]``: trainings and plaintext twins.

Both have the same batches and initial weights, and say how well they do on rows that neither has
seen: a fifth of scikit-learn's breast cancer, for linear models, or of its digits; with a folder,
2,000 of MNIST's 10,000 test images, from their two gzipped files, or a fifth of the rows of
guest.csv and host.csv, which share the column id, guest with the label y.
``epochs=6 learning_rate=0.1`` behind that change the training, for both; with ``rows=1024`` no more
than the first of the rows train.
"""

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.metrics import roc_auc_score
from tallystick.models.linear import LINEAR_MODELS, WEIGHTS
from tallystick.tables import split
from torch import Tensor

from tests import harness
from tests.train import room
from tests.train.room import Rows, Training

CONFIG: dict[str, Any] = {"batch_size": 64, "momentum": 0.9, "epochs": 3, "learning_rate": 0.05}
CONFIGS: dict[str, dict[str, Any]] = {
    "logistic_regression": {"epochs": 10, "learning_rate": 0.1},
    "linear_svm": {"epochs": 10, "learning_rate": 0.02},
    "linear_regression": {"epochs": 10, "learning_rate": 0.01},
    "softmax_regression": {"learning_rate": 0.1},
    "lenet": {"learning_rate": 0.1, "momentum": 0.8, "schedule": "cosine"},
}


def compare(
    model: str, parties: int, files: Path | None, changes: dict[str, Any]
) -> dict[str, Any]:
    """Train on shares and in plaintext, and return what both reach and the seconds it took."""
    kind, features, label, count = _data(model, files)
    config = {**CONFIG, "model": model, **CONFIGS.get(model, {}), **changes}
    targets = label.double() if kind == "number" else label
    used = slice(config.pop("rows", count))
    rows = Rows(features=features[used], label=targets[used], kind=kind)
    unseen, truth = features[count:], label[count:]
    with tempfile.TemporaryDirectory() as folder:
        place = harness.make_place(Path(folder) / "place", parties)
        with harness.dealer(place):
            room.write(rows, place, Path(folder))
            training = Training(place, Path(folder), config)
            found = training.finish(24 * 3600)
            (finished,) = training.events("alice", "finished")
    if model in LINEAR_MODELS:
        ones = torch.cat([unseen, torch.ones(len(unseen), 1, dtype=torch.float64)], 1)
        scores = [ones @ found[WEIGHTS].flatten(), ones @ _linear(rows, config)]
    else:
        twin = room.twin(rows, config)
        scores = [room.Twin(twin.graph, found).scores(unseen), twin.scores(unseen)]
    secure, plaintext = (_metric(each, truth) for each in scores)
    return {"secure": secure, "plaintext": plaintext, "seconds": finished["seconds"]}


def _data(model: str, files: Path | None) -> tuple[str, Tensor, Tensor, int]:
    """Return the label's kind, features, label, and how many of the rows train."""
    if files is not None and (files / "guest.csv").exists():
        frame = pd.read_csv(files / "guest.csv").merge(pd.read_csv(files / "host.csv"), on="id")
        values = frame.drop(columns=["id", "y"]).to_numpy()
        features = torch.tensor((values - values.mean(0)) / values.std(0))
        kind, label, count = "binary", torch.tensor(frame["y"].to_numpy()), len(frame) * 4 // 5
    elif model in LINEAR_MODELS:
        data = load_breast_cancer()
        features = torch.tensor((data.data - data.data.mean(0)) / data.data.std(0))
        kind, label, count = "binary", torch.tensor(data.target), 455
    elif files is None:
        data = load_digits()
        features = torch.tensor(data.images).unsqueeze(1) / 8 - 1
        kind, label, count = "classes", torch.tensor(data.target), 1437
    else:
        pixels = gzip.open(files / "t10k-images-idx3-ubyte.gz").read()[16:]
        features = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(-1, 1, 28, 28)
        features = (features.double() / 255 - 0.1307) / 0.3081
        classes = gzip.open(files / "t10k-labels-idx1-ubyte.gz").read()[8:]
        label = torch.frombuffer(bytearray(classes), dtype=torch.uint8).long()
        kind, count = "classes", 8000
    kind = "number" if model == "linear_regression" else kind
    order = torch.from_numpy(np.random.default_rng(1).permutation(len(label)))
    return kind, features[order], label[order], count


def _linear(rows: Rows, config: dict[str, Any]) -> Tensor:
    """Train a linear model in plaintext, in float64."""
    x = torch.cat([rows.features, torch.ones(rows.train, 1, dtype=torch.float64)], 1)
    y = rows.label.double()
    weights = torch.zeros(x.shape[1], dtype=torch.float64)
    step = torch.zeros_like(weights)
    seed = room.DEFAULTS["seed"]
    for epoch in range(config["epochs"]):
        for batch in split.positions(rows.train, config["batch_size"], seed, epoch):
            scores, signs = x[batch] @ weights, 2 * y[batch] - 1
            slope = {
                "logistic_regression": torch.sigmoid(scores) - y[batch],
                "linear_svm": -signs * (signs * scores < 1),
                "linear_regression": scores - y[batch],
            }[config["model"]]
            step = config["momentum"] * step + x[batch].T @ slope / len(batch)
            weights = weights - config["learning_rate"] * step
    return weights


def _metric(scores: Tensor, truth: Tensor) -> dict[str, float]:
    if scores.dim() > 1 and scores.shape[1] > 1:
        return {"accuracy": float((scores.argmax(1) == truth).double().mean())}
    return {"auc": float(roc_auc_score(truth, scores.flatten()))}


if __name__ == "__main__":
    named, given = sys.argv[1:3], sys.argv[3:]
    changed = {k: json.loads(v) for k, _, v in (word.partition("=") for word in given) if v}
    where = [Path(word) for word in given if "=" not in word] or [None]
    print(json.dumps(compare(named[0], int(named[1]), where[0], changed)))
