"""What Prometheus and probes see of the dealer."""

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tallystick.runtime import events
from tallystick.runtime.dealer.exposition import Exposition
from tallystick.runtime.errors import ConfigError

SERVED = {
    "session": "credit-1",
    "step": "train",
    "outcome": "finished",
    "requests": {"triple": 3, "bits": 2},
    "sent_bytes": 1000,
    "seconds": 12.5,
}


@pytest.fixture
def exposed() -> Iterator[tuple[Exposition, str]]:
    exposition = Exposition()
    server = exposition.serve(0)
    yield exposition, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def read(address: str, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(address + path, timeout=10) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def figures(address: str) -> dict[str, float]:
    _, page = read(address, "/metrics")
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name.startswith("tallystick_dealer")
    }


def test_it_is_well_once_it_serves(exposed: tuple[Exposition, str]) -> None:
    exposition, address = exposed
    assert read(address, "/healthz")[0] == 503
    exposition.take("serving", {"port": 7700})
    assert read(address, "/healthz") == (200, "ok\n")
    assert read(address, "/")[0] == 404


def test_the_figures_follow_the_events_and_name_nobody(exposed: tuple[Exposition, str]) -> None:
    exposition, address = exposed
    for _ in range(3):
        exposition.take("gathered", {"session": "credit-1", "step": "train"})
    exposition.take("served", SERVED)
    exposition.take("served", {**SERVED, "outcome": "a party left"})
    exposition.take("warning", {"message": "refused a connection: 'bob'", "refused": True})
    exposition.take("warning", {"message": "something else"})
    found = figures(address)
    assert found["tallystick_dealer_sessions_active"] == 1
    assert found["tallystick_dealer_sessions_total finished train"] == 1
    assert found["tallystick_dealer_sessions_total a party left train"] == 1
    assert found["tallystick_dealer_requests_total triple"] == 6
    assert found["tallystick_dealer_sent_bytes_total"] == 2000
    assert found["tallystick_dealer_refused_connections_total"] == 1
    assert found["tallystick_dealer_session_seconds_sum train"] == 25
    assert not [name for name in found if "bob" in name or "credit-1" in name]


def test_step_names_that_parties_make_up_do_not_fill_the_memory(
    exposed: tuple[Exposition, str],
) -> None:
    exposition, address = exposed
    for number in range(200):
        exposition.take("served", {**SERVED, "step": f"step-{number}"})
    sessions = [name for name in figures(address) if "sessions_total" in name]
    assert len(sessions) == 33
    assert "tallystick_dealer_sessions_total finished other" in sessions


def test_a_port_that_is_taken_is_named(exposed: tuple[Exposition, str]) -> None:
    port = int(exposed[1].rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"port {port}"):
        Exposition().serve(port)


def test_whoever_observes_hears_each_event(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[str] = []
    monkeypatch.setattr(events, "_observers", [lambda event, _: heard.append(event)])
    events.emit("serving", port=1)
    assert heard == ["serving"]
    assert '"serving"' in capsys.readouterr().out
