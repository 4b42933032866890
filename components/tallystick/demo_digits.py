"""The demonstration with a network: each of two sides has half of every handwritten digit.

The upper half of each image and what digit it is are alice's, the lower half is bob's. The images
are scikit-learn's, 8 x 8 pixels.
"""

import math

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from torch import Tensor, nn

from tallystick import local
from tallystick.demo import artifact
from tallystick.models.networks import NETWORKS
from tallystick.tables import split

PARTIES = ("alice", "bob")
ID, LABEL = "sheet", "digit"
SHAPE = (1, 8, 8)
UNKNOWN = 0.05
"""The part of the sheets that each side has never seen."""
GRAIN = 0.02
SEED = 7
TEST_FRACTION = 0.2
EPOCHS, BATCH_SIZE, LEARNING_RATE, MOMENTUM = 12, 64, 0.1, 0.8
# Without the cosine the last batches decide: rounding alone moves the accuracy by a point or two.
SCHEDULE = "cosine"


def job(model: str) -> str:
    """Return the job file for a network."""
    return f"""\
# Two archives hold the halves of torn sheets; alice knows which digit stood on each. A network
# learns to read whole digits. Change a line and run it again:  tallystick run job.yaml
session: digits-demo
pipeline: training
parties:                      # in rank order; each holds that party's own parameters
  alice: {{data: alice.csv}}
  bob:   {{data: bob.csv}}
dealer: notary
params:                       # parameters common to all
  id_columns: [{ID}]
  label: {LABEL}
  model: {model}
  feature_shape: {list(SHAPE)}    # alice's pixels and then bob's: the whole image
  epochs: {EPOCHS}
  batch_size: {BATCH_SIZE}
  learning_rate: {LEARNING_RATE}
  schedule: {SCHEDULE}
  momentum: {MOMENTUM}
  test_fraction: {TEST_FRACTION}
  standardise: false          # the pixels are between -1 and 1 already
  seed: {SEED}
  export_to: []               # the model stays shared
"""


def tables() -> dict[str, pd.DataFrame]:
    """Return each side's half of the sheets that it has, in an order of its own."""
    data = load_digits()
    sheets = [f"S-{number:05d}" for number in range(len(data.target))]
    # With a scanner's grain: encode leaves out columns that hold one value, such as an empty rim's.
    grain = np.random.default_rng(SEED).normal(0, GRAIN, data.data.shape)
    halves = np.split(data.data / 8 - 1 + grain, 2, axis=1)
    found = {}
    for rank, (party, half) in enumerate(zip(PARTIES, halves, strict=True)):
        names = [f"pixel_{4 * rank + place // 8}_{place % 8}" for place in range(half.shape[1])]
        table = pd.DataFrame(half, columns=names)
        table.insert(0, ID, sheets)
        if rank == 0:
            table.insert(1, LABEL, data.target)
        found[party] = table.sample(frac=1 - UNKNOWN, random_state=SEED + rank)
    return found


def compare(summary: local.Summary, model: str, console: Console) -> None:
    """Show the accuracy beside that of plaintext training, with both halves and with one."""
    # Nobody could do this in earnest: this machine plays both parties.
    alice, bob = (
        pd.read_parquet(artifact(summary.folder / party, "psi/aligned") / "aligned.parquet")
        for party in PARTIES
    )
    alice, bob = alice.drop(columns=ID), bob.drop(columns=ID)
    label = alice.pop(LABEL).to_numpy(copy=True)
    upper, lower = alice.to_numpy(), bob.to_numpy()
    drawn = split.Split.read(artifact(summary.folder / PARTIES[0], "encode/shares"), len(label))
    train, test = drawn.train_rows, drawn.test_rows
    table = Table("", "accuracy", box=None, pad_edge=False)
    table.add_row("both halves, no row shown", f"{summary.metrics['accuracy']:.3f}")
    for title, pixels in (
        ("both halves, in plaintext", np.hstack([upper, lower])),
        ("alice's half alone, in plaintext", np.hstack([upper, np.zeros_like(lower)])),
    ):
        images = torch.tensor(pixels, dtype=torch.float32).reshape(-1, *SHAPE)
        accuracy = plaintext(model, images, torch.from_numpy(label), train, test)
        table.add_row(title, f"{accuracy:.3f}")
    console.print()
    console.print(table)
    console.print(
        "\nThe first line should be as good as the second, and better than the third: half a digit "
        "is hard to read."
    )


def plaintext(
    model: str,
    images: Tensor,
    label: Tensor,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
) -> float:
    """Train the same network in plaintext and return its accuracy on the test rows."""
    torch.manual_seed(SEED)
    network = NETWORKS[model](SHAPE, 10)
    optimiser = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimiser, EPOCHS * math.ceil(len(train) / BATCH_SIZE)
    )
    for epoch in range(EPOCHS):
        for batch in split.positions(len(train), BATCH_SIZE, SEED, epoch):
            rows = train[batch]
            loss = nn.functional.cross_entropy(network(images[rows]), label[rows])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        return float((network(images[test]).argmax(1) == label[test]).double().mean())
