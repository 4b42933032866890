"""Metrics of two classes from shared scores and labels, against scikit-learn on the same."""

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle
from tallystick.evaluate import binary, buckets, curves
from tallystick.parity import metrics as plaintext

from tests import harness
from tests.harness import Place
from tests.parties.evaluation.room import agree, scores_and_labels, shared

BINARY = [
    ("distinct", 500),
    ("ties", 500),
    ("equal", 100),
    ("no positive", 60),
    ("no negative", 60),
    ("distinct", 1),
    ("no negative", 1),
    ("ties", 2),
    ("distinct", 30),
]


def _binary(session: Any, cases: list[tuple[str, int]]) -> list[binary.Binary]:
    results = []
    for kind, rows in cases:
        score, label = scores_and_labels(kind, rows)
        secrets = shared(session, score, 0), shared(session, label, 1)
        results.append(binary.evaluate(session.engine, session.ledger, *secrets))
    return results


@pytest.mark.parametrize(
    "cases", [BINARY, pytest.param([("ties", 10_000)], marks=pytest.mark.slow)]
)
@pytest.mark.timeout(400)
def test_binary_metrics_are_those_of_scikit_learn(
    place: Place, cases: list[tuple[str, int]]
) -> None:
    results = harness.run_parties(place, _binary, cases, timeout_s=300)
    for party, found in results.items():
        assert not isinstance(found, BaseException), (party, found)
        for (kind, rows), result in zip(cases, found, strict=True):
            score, label = scores_and_labels(kind, rows)
            agree(result.metrics, plaintext.binary(score, label))
            called = (score > 0).astype(int)
            wanted = oracle.confusion_matrix(label, called, labels=[0, 1]).tolist()
            assert result.confusion.matrix == wanted


def _curves(session: Any, cases: list[tuple[str, int]], min_count: int) -> list[binary.Binary]:
    results = []
    for kind, rows in cases:
        score, label = scores_and_labels(kind, rows)
        secrets = shared(session, score, 1), shared(session, label, 0)
        results.append(
            binary.evaluate(
                session.engine,
                session.ledger,
                *secrets,
                min_count=min_count,
                threshold=0.7,
                probabilities=False,
            )
        )
    return results


def bucket_oracle(
    score: NDArray[np.float64], label: NDArray[np.int64], min_count: int, called: int
) -> tuple[list[int], list[int], list[float]]:
    """Cut and merge in plaintext, one row after the other."""
    order = np.argsort(-score, kind="stable")
    score, label = score[order], label[order]
    kept: list[int] = []
    ranks = buckets.cuts(len(score), min_count, called)
    for side in ([r for r in ranks if r <= called], [r for r in ranks if r > called]):
        start = kept[-1] if kept else 0
        ends = [int((score >= score[rank - 1]).sum()) for rank in side]
        found: list[int] = []
        for end in ends:
            if end - (found[-1] if found else start) >= min_count:
                found.append(end)
        if found[-1:] != ends[-1:]:
            found = [*found[:-1], ends[-1]]
        kept += found
    edges = [0, *kept]
    spans = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return (
        [span.stop - span.start for span in spans],
        [int(label[span].sum()) for span in spans],
        [float(score[span].mean()) for span in spans],
    )


@pytest.mark.parametrize("min_count", [1, 10])
def test_the_buckets_keep_equal_scores_together_and_hold_enough_rows(
    pair: Place, min_count: int
) -> None:
    cases = [("distinct", 500), ("ties", 500), ("equal", 100), ("ties", 120)]
    results = harness.run_parties(pair, _curves, cases, min_count)
    assert results["alice"] == results["bob"]
    for (kind, rows), result in zip(cases, results["alice"], strict=True):
        score, label = scores_and_labels(kind, rows)
        called = int((score > np.log(0.7 / 0.3)).sum())
        wanted = bucket_oracle(score, label, min_count, called)
        found = result.buckets
        assert (found.rows, found.positives) == wanted[:2], (kind, rows)
        assert found.means == pytest.approx(wanted[2], abs=1e-9)
        assert min(found.rows) >= min_count
        assert len(found.rows) <= buckets.MAX_BUCKETS + 1
        # Every point lies on scikit-learn's curve.
        fpr, tpr, _ = oracle.roc_curve(label, score, drop_intermediate=False)
        exact = {(round(x, 9), round(y, 9)) for x, y in zip(fpr, tpr, strict=True)}
        for point in curves.points(found):
            x, y = point.false_positive_rate, point.confusion.recall
            assert (round(x, 9), round(y, 9)) in exact
        assert any(point.confusion == result.confusion for point in curves.points(found))
