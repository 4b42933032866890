"""Metrics from shared scores and labels against scikit-learn on the same scores and labels."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn import metrics as oracle
from tallystick.evaluate import binary, buckets, curves, multiclass, regression
from tallystick.parity import metrics as plaintext
from tallystick.runtime.engine import Secret
from torch import Tensor

from tests import harness
from tests.harness import Place

EXACT = 1e-9
"""Ratios of counts."""
ROUNDED = 2.0**-11
"""What comes of functions in fixed point: 4.9e-4."""
TWO_AND_MORE = pytest.mark.parametrize(
    "place", [2, pytest.param(3, marks=pytest.mark.slow)], ids=["two", "three"], indirect=True
)


def scores_and_labels(kind: str, rows: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores that fixed point holds exactly, so that ties are the same ties."""
    rng = np.random.default_rng(rows)
    label = (rng.random(rows) < 0.3).astype(np.int64)
    score = np.round((rng.normal(size=rows) + 1.5 * label - 1) * 2**12) / 2**12
    match kind:
        case "ties":
            score = np.round(score * 2) / 2
        case "equal":
            score[:] = 0.25
        case "no positive":
            label[:] = 0
        case "no negative":
            label[:] = 1
    return score, label


def shared(session: Any, value: NDArray[Any], owner: int) -> Secret:
    tensor = torch.from_numpy(np.asarray(value, dtype=np.float64))
    mine = tensor if session.rank == owner else None
    return session.engine.share(mine, owner, tensor.shape)


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


def agree(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert found.keys() == wanted.keys()
    rounded = {"log_loss", "brier"}
    for name, value in wanted.items():
        allowed = ROUNDED if name in rounded else EXACT if name != "average_precision" else 1e-4
        assert found[name] == pytest.approx(value, abs=allowed), name


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


def classes(
    kind: str, rows: int, count: int
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Scores, classes and groups."""
    rng = np.random.default_rng(rows)
    label = rng.integers(0, count, rows)
    if kind == "one missing":
        label[label == 1] = 0
    score = rng.normal(size=(rows, count)) + 2 * np.eye(count)[label]
    score = np.round(score * (1 if kind == "ties" else 2**12)) / (1 if kind == "ties" else 2**12)
    if kind == "equal":
        score[:] = 0.5
    return score, label, rng.integers(0, 3, rows)


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
    assert result.metrics["accuracy"] == (label == score.argmax(1)).mean()
    each = oracle.f1_score(label, score.argmax(1), average=None)
    assert result.metrics["f1_macro"] == pytest.approx((each[0] + each[3]) / 2, abs=EXACT)


DEVIATION, MEAN = 12.5, 40.0


def _regression(session: Any, cases: list[tuple[str, int]]) -> list[regression.Regression]:
    results = []
    for kind, rows in cases:
        score, label, group = numbers(kind, rows)
        secrets = shared(session, score, 0), shared(session, label, 1)
        results.append(
            regression.evaluate(
                session.engine,
                session.ledger,
                *secrets,
                DEVIATION,
                mean=MEAN,
                min_count=5,
                group_NG=shared(session, np.eye(3)[group], 0),
            )
        )
    return results


def numbers(
    kind: str, rows: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Predictions, labels and groups; the last group has two rows."""
    rng = np.random.default_rng(rows)
    label = np.round(rng.normal(size=rows) * 2**12) / 2**12
    score = label + np.round(rng.normal(size=rows) * 0.3 * 2**12) / 2**12 + 0.0625
    group = rng.integers(0, 2, rows)
    group[:2] = 2
    if kind == "constant":
        label[:] = 1.5
    if kind == "perfect":
        score = label.copy()
    return score, label, group


@TWO_AND_MORE
def test_regression_metrics_are_those_of_scikit_learn(place: Place) -> None:
    cases = [("usual", 400), ("constant", 50), ("perfect", 60)]
    results = harness.run_parties(place, _regression, cases, timeout_s=100)
    for party, found in results.items():
        assert not isinstance(found, BaseException), (party, found)
        for (kind, rows), result in zip(cases, found, strict=True):
            score, label, group = numbers(kind, rows)
            score, label = score * DEVIATION + MEAN, label * DEVIATION + MEAN
            error = score - label
            wanted = plaintext.regression(score, label)
            assert ("r2" in wanted) == (kind != "constant")
            assert result.metrics.keys() == wanted.keys()
            for name, value in wanted.items():
                unit = DEVIATION if name in ("rmse", "mae") else 1
                assert result.metrics[name] == pytest.approx(value, abs=1e-3 * unit), (kind, name)
            if kind == "perfect":
                assert result.histogram is None
            else:
                edges = [-np.inf, *result.histogram.edges, np.inf]
                assert list(result.histogram.counts) == np.histogram(error, edges)[0].tolist()
                assert min(result.histogram.counts) >= 5
            # Two rows are too few, and the smaller of the others would give them away.
            sizes = [(group == g).sum() for g in range(2)]
            shown = int(np.argmax(sizes))
            assert [one is None for one in result.groups] == [g != shown for g in range(3)]
            members = group == shown
            assert result.groups[shown]["mae"] == pytest.approx(
                np.abs(error[members]).mean(), abs=1e-3 * DEVIATION
            )


def _errors(session: Any, cases: list[int]) -> list[dict[str, float]]:
    results = []
    for rows in cases:
        score, label, _ = numbers("usual", rows)
        secrets = shared(session, score, 0), shared(session, label, 1)
        found = regression.evaluate(
            session.engine, session.ledger, *secrets, DEVIATION, mean=MEAN, min_count=1
        )
        results.append(found.metrics)
    return results


@pytest.mark.parametrize("cases", [[1, 2], pytest.param([10_000], marks=pytest.mark.slow)])
def test_errors_of_one_row_and_of_many_are_those_of_scikit_learn(
    pair: Place, cases: list[int]
) -> None:
    for found in harness.run_parties(pair, _errors, cases, timeout_s=100).values():
        for rows, result in zip(cases, found, strict=True):
            score, label, _ = numbers("usual", rows)
            score, label = score * DEVIATION + MEAN, label * DEVIATION + MEAN
            wanted = plaintext.regression(score, label)
            # Of 10,000 labels one is too near to nought to divide by.
            least = np.maximum(np.abs(label), DEVIATION / 2**8)
            wanted["mape"] = float(np.mean(np.abs(score - label) / least))
            assert result.keys() == wanted.keys()
            for name, value in wanted.items():
                unit = DEVIATION if name in ("rmse", "mae") else 1
                assert result[name] == pytest.approx(value, abs=1e-3 * unit), (rows, name)


def _groups(session: Any, cases: list[tuple[list[int], int]]) -> list[binary.Binary]:
    results = []
    for sizes, min_count in cases:
        score, label, group = grouped(sizes)
        secrets = shared(session, score, 0), shared(session, label, 1)
        member = shared(session, np.eye(len(sizes))[group], 0)
        results.append(
            binary.evaluate(
                session.engine, session.ledger, *secrets, min_count=min_count, group_NG=member
            )
        )
    return results


def grouped(sizes: list[int]) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    score, label = scores_and_labels("ties", sum(sizes))
    return score, label, np.repeat(np.arange(len(sizes)), sizes)


def test_groups_are_measured_or_withheld_with_what_would_give_them_away(pair: Place) -> None:
    cases = [
        ([200, 150, 100], 10, [True, True, True]),
        # 5 rows are too few; what is left of the totals would be theirs, so the 100 go as well.
        ([200, 5, 100], 10, [True, False, False]),
        # Together two small groups are enough.
        ([200, 60, 60], 20, [True, False, False]),
        ([4, 4], 10, [False, False]),
        ([50, 0, 30], 1, [True, True, True]),
    ]
    results = harness.run_parties(pair, _groups, [case[:2] for case in cases])
    for party, found in results.items():
        assert not isinstance(found, BaseException), (party, found)
        for (sizes, _, wanted), result in zip(cases, found, strict=True):
            score, label, group = grouped(sizes)
            assert [one is not None for one in result.groups] == wanted, sizes
            for g, one in enumerate(result.groups):
                members = group == g
                if one is None:
                    continue
                assert one.pop("rows") == members.sum()
                if not members.any():
                    assert one == {}
                    continue
                assert one.pop("positive_rate") == label[members].mean()
                assert one.pop("called_rate") == (score > 0)[members].mean()
                plain = plaintext.binary(score[members], label[members])
                agree(one, {name: plain[name] for name in one})
                assert {"auc", "recall", "accuracy"} <= one.keys()


def test_what_speaks_of_too_few_rows_is_left_out(pair: Place) -> None:
    """Eight rows: no class holds ten, so only the part of right answers is opened."""
    (result,) = harness.run_parties(pair, _curves, [("distinct", 8)], 10)["alice"]
    assert result.metrics.keys() == {"accuracy"}
    assert result.confusion is None
    assert result.buckets is None


def _few_called(session: Any) -> binary.Binary:
    score, label = scores_and_labels("distinct", 200)
    secrets = shared(session, score - np.sort(score)[-4], 0), shared(session, label, 1)
    return binary.evaluate(session.engine, session.ledger, *secrets, min_count=10)


def test_decisions_for_too_few_rows_are_left_out_and_the_curves_stay(pair: Place) -> None:
    result = harness.run_parties(pair, _few_called)["alice"]
    assert result.metrics.keys() == {"auc", "average_precision", "ks", "log_loss", "brier"}
    assert result.confusion is None
    assert min(result.buckets.rows) >= 10


class Seen:
    """What one party is sent while it evaluates, what it learns by putting shares together, and
    what it asks the dealer for."""

    def __init__(self, session: Any) -> None:
        self.received: list[Tensor] = []
        self.opened: list[Tensor] = []
        self.whole: list[Tensor] = []
        """What was opened, but for packed words that are filled up: of few bits, any may come."""
        self.revealed: list[Tensor] = []
        self.asked: list[Any] = []
        self._engine, self._exchange = session.engine, session.engine._exchange
        session.engine._exchange = self._watch
        self._reveal, session.ledger.reveal = session.ledger.reveal, self._learn
        dealer = session.mesh.links[harness.DEALER]
        self._post, dealer.post = dealer.post, self._ask
        context = session.engine.context
        session.engine.context = dataclasses.replace(
            context,
            open_sums=self._open(context.open_sums),
            open_xors=self._open(context.open_xors, filled=1),
        )

    def _ask(self, kind: int, *content: Any) -> None:
        # Signs of life and of the end carry nothing.
        self.asked += [json.loads(bytes(part)) for part in content]
        self._post(kind, *content)

    def _watch(self, shares: Any, receivers: Any) -> Any:
        parts = self._exchange(shares, receivers)
        self.received += [part.reshape(-1).clone() for theirs in parts[:-1] for part in theirs]
        return parts

    def _open(self, opening: Any, filled: int = 0) -> Any:
        def watched(shares: Any) -> list[Tensor]:
            values = opening(shares)
            self.opened += [value.reshape(-1).clone() for value in values]
            kept = [value[..., : value.shape[-1] - filled] if filled else value for value in values]
            self.whole += [value.reshape(-1).clone() for value in kept]
            return values

        return watched

    def _learn(self, secret: Secret, what: str, **about: Any) -> Any:
        value = self._reveal(secret, what, **about)
        self.revealed.append(value.reshape(-1))
        return value


def watched_rows(kind: str) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
    """Scores, labels and groups of 512 rows."""
    if kind == "classes":
        score, label, group = classes("distinct", 512, 3)
        return score, np.eye(3)[label], group
    if kind.startswith("numbers"):
        score, label, group = numbers("usual", 512)
        return (
            (score, label, group)
            if kind == "numbers"
            else (label / 2, np.roll(score, 9), 1 - group)
        )
    binary_score, binary_label = scores_and_labels("ties", 512)
    return binary_score, binary_label, (binary_score > -1).astype(np.int64)


def _watched(session: Any, kind: str) -> tuple[list[Any], ...]:
    score, label, group = watched_rows(kind)
    secrets = shared(session, score, 0), shared(session, label, 1)
    groups: dict[str, Any] = {"min_count": 10, "group_NG": shared(session, np.eye(3)[group], 0)}
    seen = Seen(session)
    if kind == "classes":
        multiclass.evaluate(session.engine, session.ledger, *secrets, **groups)
    elif kind == "binary":
        binary.evaluate(session.engine, session.ledger, *secrets, **groups)
    else:
        regression.evaluate(session.engine, session.ledger, *secrets, DEVIATION, **groups)
    views = (seen.received, seen.opened, seen.whole, seen.revealed)
    return *([part.numpy() for part in parts] for parts in views), seen.asked  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["binary", "classes", "numbers"])
def test_no_party_sees_a_score_a_label_or_an_order_of_rows(pair: Place, kind: str) -> None:
    score, label, _ = watched_rows(kind)
    rows = len(score)
    results = harness.run_parties(pair, _watched, kind)
    for party, views in results.items():
        assert not isinstance(views, BaseException), (party, views)
        received, opened, whole, revealed, _ = views
        # Each share by itself is uniform.
        bytes_seen = np.concatenate(received).view(np.uint8)
        uniform(bytes_seen)
        # Put together they are masked values, or follow from the shuffle's order alone.
        masked = [values for values in opened if not is_order(values)]
        assert (kind != "numbers") == any(map(is_order, opened))
        uniform(np.concatenate(masked).view(np.uint8))
        # Nothing that has a value for each row goes along with its score, label or place.
        columns = [*score.reshape(rows, -1).T, *label.reshape(rows, -1).T, np.arange(rows)]
        truths = np.array([(column - column.mean()) / column.std() for column in columns])
        for values in opened:
            whole = values[: len(values) // rows * rows].reshape(-1, rows).astype(np.float64)
            whole = whole[whole.std(axis=1) > 0]
            whole = (whole - whole.mean(1, keepdims=True)) / whole.std(1, keepdims=True)
            assert (np.abs(whole @ truths.T / rows) < 6 / np.sqrt(rows)).all()
        # What the ledger opens are totals: few, and none of them a row's.
        assert sum(map(len, revealed)) < rows
        encoded = {round(value * 2**16) for value in score.flat} - {0}
        assert not encoded & {
            int(word) for values in whole if not is_order(values) for word in values
        }


def test_the_dealer_is_asked_for_shapes_and_nothing_that_depends_on_a_row(pair: Place) -> None:
    """Of other numbers it is asked the same; where rows are sorted, for other sizes of the same."""
    one, other = (harness.run_parties(pair, _watched, kind) for kind in ("numbers", "numbers 2"))
    assert one["alice"][-1] == other["alice"][-1] != []
    asked = harness.run_parties(pair, _watched, "binary")
    assert asked["bob"][-1] == []  # the first party asks for all
    known = {word for message in asked["alice"][-1] for word in words(message)}
    known -= {word for message in one["alice"][-1] for word in words(message)}
    assert not {word for word in known if not isinstance(word, int | str)}
    score, _, _ = watched_rows("binary")
    assert not {abs(round(value * 2**16)) for value in score if value} & known


def words(message: Any) -> Iterator[Any]:
    """Every single value in a message."""
    if isinstance(message, dict):
        message = [*message.items()]
    if isinstance(message, list | tuple):
        for part in message:
            yield from words(part)
    else:
        yield message


def is_order(values: NDArray[np.int64]) -> bool:
    return len(values) > 64 and np.array_equal(np.sort(values), np.arange(len(values)))


def uniform(seen: NDArray[np.uint8]) -> None:
    """Chi squared with 255 degrees of freedom exceeds 360 once in 10**5 times.

    Comparisons are packed 64 to a word and the last word is filled up with noughts, which adds
    less than 0.005 for each byte; plain values in a hundredth of the bytes would add more than
    0.02.
    """
    counts, wanted = np.bincount(seen, minlength=256), len(seen) / 256
    assert wanted > 100
    assert ((counts - wanted) ** 2 / wanted).sum() < 360 + 0.005 * len(seen)
