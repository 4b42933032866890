"""Tables that are masked once: the same products as ever, and hardly a byte for them."""

import errno
import io
import os
import tempfile
from pathlib import Path
from typing import Any

import torch
from tallystick.runtime.errors import DataError
from tallystick.runtime.frames import HEADER
from tallystick.runtime.protocols.kept import Kept
from tallystick.runtime.protocols.layers import Linear
from tallystick.runtime.protocols.products import mask
from tallystick.tables import split

from tests.harness import Place, run_parties

ROWS, FEATURES, BATCH, EPOCHS = 203, 40, 32, 4


class _Full(io.BytesIO):
    def write(self, content: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _multiply(session: Any, folder: Path, fault: str) -> tuple[float, list[int], int]:
    if fault == "a full disk":
        tempfile.TemporaryFile = lambda **_: _Full()  # type: ignore[assignment]
    engine, context = session.engine, session.engine.context
    torch.manual_seed(5)
    x_NF = torch.randn(ROWS, FEATURES, dtype=torch.float64)
    share_NF = engine.share(x_NF if session.rank == 0 else None, 0, x_NF.shape).share
    asked: list[int] = []

    def read(rows: Any) -> torch.Tensor:
        asked.extend(rows.positions().tolist())
        return share_NF[rows.positions()]

    before = session.mesh.traffic()["sent_bytes"]
    table = Kept.make(context, (ROWS, FEATURES), read, folder / str(session.rank))
    once = session.mesh.traffic()["sent_bytes"] - before
    epochs = [split.batches(ROWS, BATCH, 1, epoch) for epoch in range(EPOCHS)]
    context.foretell([(table.number, batch) for batches in epochs for batch in batches])
    if fault == "other rows":
        epochs[1] = epochs[0]
    worst, sent = 0.0, []
    for batches in epochs:
        before = session.mesh.traffic()["sent_bytes"]
        for batch in batches:
            w_F = torch.randn(FEATURES, dtype=torch.float64)
            shared = engine.share(w_F if session.rank == 0 else None, 0, w_F.shape).share
            (weights,) = mask(context, shared.unsqueeze(0))
            result = engine.from_share(Linear(table.take(batch), weights).result(context))
            opened = session.ledger.reveal(result, "product", why="the test's oracle")
            exact = x_NF[batch.positions()] @ w_F
            worst = max(worst, float((opened.squeeze(1) - exact).abs().max()))
        sent.append(session.mesh.traffic()["sent_bytes"] - before)
    assert sorted(asked) == list(range(ROWS))
    return worst, sent, once


def test_a_table_is_opened_once_and_multiplied_as_often_as_one_likes(
    place: Place, tmp_path: Path
) -> None:
    results = run_parties(place, _multiply, tmp_path, "")
    for worst, sent, once in results.values():
        assert worst < FEATURES * 2.0**-15
        peers = len(place.parties) - 1
        assert 0 <= once - peers * 8 * ROWS * FEATURES < 1000
        # The weights, and each result twice: masked for its truncation, and opened to the test.
        opened = -(-ROWS // BATCH) * (8 * FEATURES + 3 * HEADER.size) + 2 * 8 * ROWS
        assert max(sent) - peers * opened < 8 * ROWS * FEATURES / 2
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_rows_that_were_not_foretold_are_refused(pair: Place, tmp_path: Path) -> None:
    results = run_parties(pair, _multiply, tmp_path, "other rows")
    for outcome in results.values():
        assert isinstance(outcome, ValueError)
        assert "foretold" in str(outcome)


def test_a_full_disk_is_an_error_that_says_what_is_missing(pair: Place, tmp_path: Path) -> None:
    results = run_parties(pair, _multiply, tmp_path, "a full disk")
    # Whoever hears of the other's error first ends with that one.
    assert any(isinstance(outcome, DataError) for outcome in results.values())
    for outcome in results.values():
        assert "0 MB of masked features" in str(outcome)
        assert "storage" in str(outcome)
