"""A service's endpoint, its desk and its forms, without other parties."""

import json
import os
import ssl
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tallystick.predict import forms
from tallystick.predict.desk import Closed, Desk, Full, Request
from tallystick.predict.endpoint import Endpoint, read_token
from tallystick.predict.forms import Columns, Malformed, Values
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.identity import keygen
from tallystick.tables.preparation import Number, OneHot, Preparation

from tests import harness

TOKEN = "0123456789abcdef" * 2
MAX_BYTES = 2048


@pytest.fixture
def token(tmp_path: Path) -> str:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(TOKEN + "\n")
    return str(path)


class Place:
    """An endpoint over a model that adds a row's two numbers."""

    def __init__(self, token: str, tls: str = "") -> None:
        self.desk = Desk(max_rows=4, max_waiting=6, window_s=0.05)
        self.batches: list[int] = []
        port = harness.free_port()
        self.endpoint = Endpoint(
            f"127.0.0.1:{port}",
            tls=tls,
            token=token,
            form=Values([2], 4),
            about={},
            desk=self.desk,
            max_bytes=MAX_BYTES,
        )
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        self.trusted = ssl.create_default_context(cafile=f"{tls}/tls.crt") if tls else None
        if self.trusted:
            self.trusted.check_hostname = False

    def compute(self) -> None:
        """Answer what waits."""
        batch = self.desk.take(5)
        self.batches.append(sum(request.count for request in batch))
        for request in batch:
            assert request.values is not None
            request.answer.set_result([{"score": float(sum(row))} for row in request.values])

    def get(self, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {TOKEN}", **headers}
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.address + path, body, headers)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20, context=self.trusted) as answer:  # noqa: S310
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)


@pytest.fixture
def place(token: str) -> Iterator[Place]:
    place = Place(token)
    with place.endpoint:
        yield place


def test_nothing_but_the_probes_answers_without_the_token(place: Place) -> None:
    place.desk.open(0)
    for wrong in ("", "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}0"):
        for path, body in (("/v1/predict", b'{"rows": [[1, 2]]}'), ("/v1/model", None)):
            assert place.get(path, body, Authorization=wrong)[0] == 401
    assert place.get("/healthz", Authorization="")[0] == 200
    assert place.get("/readyz", Authorization="")[0] == 200
    assert place.desk.is_empty


def test_a_service_is_ready_between_its_opening_and_its_end(place: Place) -> None:
    assert place.get("/readyz") == (503, {"ready": False})
    assert place.get("/v1/predict", b'{"rows": [[1, 2]]}')[0] == 503
    place.desk.open(0)
    assert place.get("/readyz")[0] == 200
    place.desk.close()
    assert place.get("/readyz")[0] == 503


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not valid JSON"),
        (b'{"rows": [[NaN, 1]]}', 400, "not valid JSON"),
        (b"[" * 1500, 400, "not valid JSON"),
        (b'{"rows": [[1, 2]], "more": 1}', 400, "the one key 'rows'"),
        (b'{"ids": ["a"]}', 400, "the one key 'rows'"),
        (b'{"rows": []}', 400, "from 1 to 4"),
        (b'{"rows": [[1,2],[1,2],[1,2],[1,2],[1,2]]}', 400, "from 1 to 4"),
        (b'{"rows": [[1]]}', 400, "shape [2]"),
        (b'{"rows": [[1, "4711"]]}', 400, "shape [2]"),
        (b'{"rows": [[1, [2]]]}', 400, "shape [2]"),
        (b'{"rows": [[true, false]]}', 400, "shape [2]"),
        (b'{"rows": [[1, 1e999]]}', 400, "too large"),
        (b'{"rows": [[1, 4711000000]]}', 422, "2**20"),
        (b" " * (MAX_BYTES + 1), 413, "2048 bytes"),
    ],
)
def test_a_request_that_is_none_is_refused_and_its_values_not_repeated(
    place: Place, body: bytes, status: int, words: str
) -> None:
    place.desk.open(0)
    found, answer = place.get("/v1/predict", body)
    assert (found, words in answer["error"], "4711" in answer["error"]) == (status, True, False)
    assert place.desk.is_empty


def test_another_kind_of_content_is_refused(place: Place) -> None:
    place.desk.open(0)
    assert place.get("/v1/predict", b"a,b", **{"Content-Type": "text/csv"})[0] == 415


def test_requests_that_come_together_go_through_together_up_to_the_most_rows(place: Place) -> None:
    place.desk.open(0)
    bodies = [f'{{"rows": [[{k}, 1], [{k}, 2]]}}'.encode() for k in range(3)]
    with ThreadPoolExecutor(3) as clients:
        answers = [clients.submit(place.get, "/v1/predict", body) for body in bodies]
        while sum(place.batches) < 6:
            place.compute()
        found = [answer.result()[1]["predictions"] for answer in answers]
    assert found == [[{"score": k + 1.0}, {"score": k + 2.0}] for k in range(3)]
    assert max(place.batches) == 4


def test_no_more_rows_wait_than_the_desk_holds() -> None:
    desk = Desk(max_rows=4, max_waiting=6, window_s=0)
    with pytest.raises(Closed):
        desk.submit(Request(1))
    desk.open(9)
    requests = [Request(4), Request(2)]
    for request in requests:
        desk.submit(request)
    with pytest.raises(Full):
        desk.submit(Request(1))
    assert desk.take(1) == requests[:1]
    desk.abandon()
    with pytest.raises(Closed):
        requests[1].answer.result(1)


def test_a_full_desk_asks_to_come_again_later(place: Place) -> None:
    place.desk.open(0)
    waiting = [Request(4), Request(2)]
    for request in waiting:
        place.desk.submit(request)
    assert place.get("/v1/predict", b'{"rows": [[1, 2]]}')[0] == 429


def test_a_client_that_waits_is_told_when_the_service_ends(token: str) -> None:
    place = Place(token)
    place.desk.open(0)
    with ThreadPoolExecutor(1) as clients:
        with place.endpoint:
            answer = clients.submit(place.get, "/v1/predict", b'{"rows": [[1, 2]]}')
            while place.desk.is_empty:
                threading.Event().wait(0.01)
        assert answer.result()[0] == 503


def test_the_endpoint_has_a_certificate_of_its_own(token: str, tmp_path: Path) -> None:
    keygen("clinic", tmp_path / "tls")
    place = Place(token, str(tmp_path / "tls"))
    place.desk.open(0)
    with place.endpoint:
        assert place.get("/readyz") == (200, {"ready": True})
        place.trusted = ssl.create_default_context()
        with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
            place.get("/readyz")


@pytest.mark.parametrize(
    ("address", "tls", "words"),
    [
        ("0.0.0.0:0", "", "tls must name the folder"),
        ("clinic.example:8080", "", "tls must name the folder"),
        ("127.0.0.1", "", "listen at 127.0.0.1"),
        ("127.0.0.1:http", "", "host:port"),
        ("127.0.0.1:0", "nowhere", "must hold a tls.key"),
    ],
)
def test_an_address_that_would_be_open_or_cannot_be_opened_is_refused(
    token: str, address: str, tls: str, words: str
) -> None:
    settings = {
        "form": Values([2], 4),
        "about": {},
        "desk": Desk(max_rows=1, max_waiting=1, window_s=0),
    }
    with pytest.raises(ConfigError) as refused:
        Endpoint(address, tls=tls, token=token, max_bytes=1, **settings)  # type: ignore[arg-type]
    assert words in str(refused.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_can_read_is_refused(token: str, mode: int) -> None:
    assert stat.S_IMODE(Path(token).stat().st_mode) == 0o600
    Path(token).chmod(mode)
    with pytest.raises(ConfigError, match="mode 0600"):
        read_token(token)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file as Kubernetes does")
@pytest.mark.parametrize(("mode", "taken"), [(0o440, True), (0o460, False), (0o444, False)])
def test_a_token_of_a_kubernetes_secret_may_be_read_by_its_pods_group(
    token: str, mode: int, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path(token).chmod(mode)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    if taken:
        assert read_token(token) == TOKEN.encode()
    else:
        with pytest.raises(ConfigError, match="mode 0600"):
            read_token(token)


def test_a_short_token_is_refused(token: str) -> None:
    Path(token).write_text("secret")
    with pytest.raises(ConfigError, match="32 characters"):
        read_token(token)


PREPARED = Preparation(
    transforms=(
        Number(column="age", fill=None, shift=40.0, scale=10.0),
        OneHot(column="area", categories=("5", "true"), other=True),
        Number(column="since", part="year", fill=None),
    )
)


def test_rows_by_column_are_prepared_as_a_table_of_them_would_be() -> None:
    form = Columns(PREPARED, 9)
    row = {"age": 50, "area": 5, "since": "2024-02-29"}
    content = {
        "rows": [row, {**row, "area": True, "since": "1999-12-31T23:59:59"}, {**row, "area": None}]
    }
    request = form.read(forms.parse(json.dumps(content).encode()))
    expected = [[1, 1, 0, 0, 2024], [1, 0, 1, 0, 1999], [1, 0, 0, 1, 2024]]
    np.testing.assert_array_equal(request.values, expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"age": "4711"}, "each row's 'age' must be a number or null"),
        ({"age": 10**400}, "each row's 'age' must be a number or null"),
        ({"area": 4711.5}, "each row's 'area' must be text"),
        ({"since": "4711"}, "each row's 'since' must be an ISO 8601 date"),
        ({"since": datetime.now().astimezone().isoformat()}, "without a zone"),
        ({"other": 4711}, "exactly the keys age, area, since"),
    ],
)
def test_a_row_of_other_columns_or_kinds_is_named_by_them(
    changes: dict[str, Any], words: str
) -> None:
    row = {"age": 50, "area": "5", "since": "2024-02-29", **changes}
    with pytest.raises(Malformed) as refused:
        Columns(PREPARED, 9).read({"rows": [row]})
    assert words in str(refused.value)
    assert "4711" not in str(refused.value)


def test_a_missing_value_for_which_nothing_stands_is_named_by_its_column() -> None:
    row = {"age": None, "area": "5", "since": "2024-02-29"}
    with pytest.raises(DataError, match="column 'age' is empty in 1 of 1 rows"):
        Columns(PREPARED, 9).read({"rows": [row]})
