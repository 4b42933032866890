"""Metrics of predicted numbers from shares, against scikit-learn on the same."""

from typing import Any

import numpy as np
import pytest
from tallystick.evaluate import regression
from tallystick.parity import metrics as plaintext

from tests import harness
from tests.harness import Place
from tests.parties.evaluation.room import DEVIATION, MEAN, TWO_AND_MORE, numbers, shared


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
