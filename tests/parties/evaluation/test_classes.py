"""Metrics of several classes from shared scores and labels, against scikit-learn on the same."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics as oracle
from tallystick.evaluate import multiclass
from tallystick.parity import metrics as plaintext

from tests import harness
from tests.harness import Place
from tests.parties.evaluation.room import EXACT, TWO_AND_MORE, classes, shared

CLASSES = [("distinct", 300, 4), ("ties", 200, 7), ("one missing", 200, 3), ("equal", 50, 3)]
CLASSES += [("distinct", 1, 3)]


def _classes(session: Any, cases: list[tuple[str, int, int]]) -> list[multiclass.Multiclass]:
    results = []
    for kind, rows, count in cases:
        score, label, group = classes(kind, rows, count)
        secrets = shared(session, score, 0), shared(session, np.eye(count)[label], 1)
        grouped = shared(session, np.eye(3)[group], 0)
        results.append(
            multiclass.evaluate(session.engine, session.ledger, *secrets, group_NG=grouped)
        )
    return results


@TWO_AND_MORE
@pytest.mark.parametrize(
    "cases", [CLASSES, pytest.param([("ties", 10_000, 4)], marks=pytest.mark.slow)]
)
@pytest.mark.timeout(400)
def test_metrics_of_several_classes_are_those_of_scikit_learn(
    place: Place, cases: list[tuple[str, int, int]]
) -> None:
    results = harness.run_parties(place, _classes, cases, timeout_s=300)
    for party, found in results.items():
        assert not isinstance(found, BaseException), (party, found)
        for (kind, rows, count), result in zip(cases, found, strict=True):
            score, label, group = classes(kind, rows, count)
            wanted = plaintext.classes(score, label)
            assert result.metrics.keys() == wanted.keys()
            for name, value in wanted.items():
                allowed = 1e-3 if name in ("log_loss", "auc_ovr") else EXACT
                assert result.metrics[name] == pytest.approx(value, abs=allowed), (kind, name)
            called = score.argmax(1)
            matrix = oracle.confusion_matrix(label, called, labels=range(count)).tolist()
            assert [matrix[name] for name in result.shown] == result.matrix
            for g, one in enumerate(result.groups):
                members = group == g
                assert one["rows"] == members.sum()
                if members.any():
                    assert one["accuracy"] == (label == called)[members].mean()


def _small_classes(session: Any, sizes: list[int]) -> multiclass.Multiclass:
    score, label = small_classes(sizes)
    secrets = shared(session, score, 0), shared(session, np.eye(len(sizes))[label], 1)
    return multiclass.evaluate(session.engine, session.ledger, *secrets, min_count=10)


def small_classes(sizes: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    label = np.repeat(np.arange(len(sizes)), sizes)
    noise = np.random.default_rng(1).normal(size=(len(label), len(sizes)))
    return np.round((noise + 2 * np.eye(len(sizes))[label]) * 2**12) / 2**12, label


def test_small_classes_are_withheld_with_what_would_give_them_away(pair: Place) -> None:
    # 3 rows are too few, and the others' totals would give them away: the 50 are withheld too.
    sizes = [100, 3, 50, 80]
    result = harness.run_parties(pair, _small_classes, sizes)["alice"]
    score, label = small_classes(sizes)
    assert result.shown == [0, 3]
    matrix = oracle.confusion_matrix(label, score.argmax(1)).tolist()
    assert result.matrix == [matrix[0], matrix[3]]
    assert [one["rows"] for one in result.classes] == [100, 80]
    # An average over the classes that are left would look like one over all of them.
    assert result.metrics.keys() == {
        *("accuracy", "f1_micro", "log_loss", "top_2_accuracy", "top_3_accuracy")
    }
    for name in ("accuracy", "top_2_accuracy"):
        wanted = plaintext.classes(score, label)[name]
        assert result.metrics[name] == pytest.approx(wanted, abs=EXACT)
