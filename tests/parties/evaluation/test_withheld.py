"""What speaks of too few rows is left out, and what would give it away."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tallystick.evaluate import binary
from tallystick.parity import metrics as plaintext

from tests import harness
from tests.harness import Place
from tests.parties.evaluation.room import agree, scores_and_labels, shared


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


def _eight_rows(session: Any) -> binary.Binary:
    score, label = scores_and_labels("distinct", 8)
    secrets = shared(session, score, 0), shared(session, label, 1)
    return binary.evaluate(
        session.engine,
        session.ledger,
        *secrets,
        min_count=10,
        threshold=0.7,
        probabilities=False,
    )


def test_what_speaks_of_too_few_rows_is_left_out(pair: Place) -> None:
    """No class holds ten rows, so only the part of right answers is opened."""
    result = harness.run_parties(pair, _eight_rows)["alice"]
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
