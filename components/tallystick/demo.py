"""The demonstration: a clinic and a laboratory, one model, no row shown.

With a network as the model it is about handwritten digits instead; see ``demo_digits.py``.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tallystick import local
from tallystick.job import Job
from tallystick.local.workspace import Workspace
from tallystick.runtime.errors import ConfigError
from tallystick.tables import split

PARTIES = ("alice", "bob")
ID, LABEL = "patient", "malignant"
# What the clinic measures. The laboratory has the other measures: size, outline, concavity.
CLINIC = ("texture", "smoothness", "symmetry", "mean fractal dimension")
# The part of the patients that each side has never seen.
UNKNOWN = 0.15
SEED = 7
TEST_FRACTION = 0.2
METRICS = ("auc", "accuracy", "f1")

MODEL = "logistic_regression"
CLASSIFIERS = (MODEL, "linear_svm")
NETWORKS = ("softmax_regression", "mlp", "cnn", "lenet", "tfe_network_a")
"""Those that take images of 8 x 8 pixels."""

JOB = f"""\
# A clinic (alice) knows the diagnosis and some measures; a laboratory (bob) knows other measures of
# many of the same patients. Change a line and run it again:  tallystick run job.yaml
session: breast-demo
pipeline: training
parties:                      # in rank order; each holds that party's own parameters
  alice: {{{{data: alice.csv}}}}
  bob:   {{{{data: bob.csv}}}}
dealer: notary
params:                       # parameters common to all
  id_columns: [{ID}]
  label: {LABEL}
  model: {{model}}
  epochs: 10
  batch_size: 64
  test_fraction: {TEST_FRACTION}
  seed: {SEED}
  export_to: [alice]
"""


def run(out: Path, console: Console, model: str = MODEL) -> local.Summary:
    """Make the two tables and the job file, and run the job.

    Args:
        out: the folder for all of it.
        console: where progress is shown.
        model: what is trained.

    Raises:
        ConfigError: ``out`` holds something else, or there is no demonstration of the model.
    """
    if model not in (*CLASSIFIERS, *NETWORKS):
        raise ConfigError(
            f"the demonstration trains one of {', '.join((*CLASSIFIERS, *NETWORKS))}, not {model!r}"
        )
    made, job = tables(), JOB.format(model=model)
    if model in NETWORKS:
        from tallystick import demo_digits

        made, job = demo_digits.tables(), demo_digits.job(model)
    # Claimed before anything is written, so that nobody's own files are overwritten.
    Workspace(out, PARTIES).close()
    for party, table in made.items():
        table.to_csv(out / f"{party}.csv", index=False)
    (out / "job.yaml").write_text(job, encoding="utf-8")
    console.print(
        f"alice holds {out / 'alice.csv'}, bob holds {out / 'bob.csv'}; the job is "
        f"{out / 'job.yaml'}. Neither side is shown a row of the other.\n",
        highlight=False,
    )
    return local.run(Job.load(out / "job.yaml"), out, console)


def tables() -> dict[str, pd.DataFrame]:
    """Return each party's table: its own columns, its own patients, in an order of its own."""
    data = load_breast_cancer(as_frame=True)
    whole = data.data.copy()
    whole.insert(0, LABEL, 1 - data.target)
    whole.insert(0, ID, [f"P-{number:05d}" for number in range(len(whole))])
    measures = [name for name in whole.columns if name not in (ID, LABEL)]
    own = [name for name in measures if any(part in name for part in CLINIC)]
    rest = [name for name in measures if name not in own]
    return {
        party: whole[columns].sample(frac=1 - UNKNOWN, random_state=SEED + rank)
        for rank, (party, columns) in enumerate(
            {"alice": [ID, LABEL, *own], "bob": [ID, *rest]}.items()
        )
    }


def compare(summary: local.Summary, console: Console, model: str = MODEL) -> None:
    """Show the secure metrics beside plaintext ones, on the same rows and the same split."""
    if model in NETWORKS:
        from tallystick import demo_digits

        demo_digits.compare(summary, model, console)
        return
    # Nobody could do this in earnest: this machine plays both parties, so it may put their
    # tables side by side. The rows are in one order already.
    alice, bob = (
        pd.read_parquet(artifact(summary.folder / party, "psi/aligned") / "aligned.parquet")
        for party in PARTIES
    )
    label = alice.pop(LABEL).to_numpy()
    drawn = split.Split.read(artifact(summary.folder / PARTIES[0], "encode/shares"), len(label))
    rows = (drawn.train_rows, drawn.test_rows)
    alice, bob = alice.drop(columns=ID), bob.drop(columns=ID)
    table = Table("", *METRICS, box=None, pad_edge=False)
    for title, metrics in (
        ("both together, no row shown", summary.metrics),
        ("both together, in plaintext", plaintext(pd.concat([alice, bob], axis=1), label, rows)),
        ("alice alone, in plaintext", plaintext(alice, label, rows)),
    ):
        table.add_row(title, *(f"{metrics[name]:.3f}" for name in METRICS))
    console.print()
    console.print(table)
    console.print(
        "\nThe first line should be as good as the second, and better than the third: "
        "bob's columns help alice, who never saw them."
    )


def plaintext(
    features: pd.DataFrame, label: NDArray[np.int64], rows: tuple[NDArray[np.int64], ...]
) -> dict[str, float]:
    """Measure scikit-learn's logistic regression on the test rows, trained on the others."""
    train, test = rows
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(features.iloc[train], label[train])
    scores = model.decision_function(features.iloc[test])
    return {
        "auc": float(roc_auc_score(label[test], scores)),
        "accuracy": float(accuracy_score(label[test], scores > 0)),
        "f1": float(f1_score(label[test], scores > 0)),
    }


def artifact(folder: Path, name: str) -> Path:
    """Return a step's artifact in a party's results."""
    return next((folder / "pipeline").glob(f"*/{name}"))
