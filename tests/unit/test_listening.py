import contextlib
import socket
import threading

import pytest
from tallystick.runtime.consortium import Member
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.listening import accept_loop, listen


def member(host: str, port: int = 0) -> Member:
    return Member(name="alice", address=f"{host}:{port}", certificate="")


def reachable(family: socket.AddressFamily, host: str, port: int) -> bool:
    with socket.socket(family) as caller:
        try:
            caller.connect((host, port))
        except OSError:
            return False
        return True


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_a_loopback_address_is_not_open_to_the_network(host: str) -> None:
    with listen(member(host)) as listener:
        bound, port = listener.getsockname()[:2]
        assert bound == ("127.0.0.1" if host == "localhost" else host)
        assert reachable(socket.AF_INET, host, port)
        assert not reachable(socket.AF_INET, "127.0.0.3", port)


@pytest.mark.parametrize("host", ["alice.example", "192.0.2.7", "[2001:db8::7]"])
def test_any_other_address_listens_on_both_families_where_there_are_both(host: str) -> None:
    with listen(member(host)) as listener:
        port = listener.getsockname()[1]
        assert reachable(socket.AF_INET, "127.0.0.1", port)
        if socket.has_dualstack_ipv6():
            assert reachable(socket.AF_INET6, "::1", port)


def test_a_port_that_is_taken_is_named() -> None:
    with contextlib.closing(listen(member("127.0.0.1"), shared=False)) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"'alice' cannot listen on port {port}: Address"):
            listen(member("127.0.0.1", port), shared=False)


def test_whoever_comes_when_there_is_no_thread_left_may_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, failures, over = threading.Thread.start, [True], threading.Event()

    def start(thread: threading.Thread) -> None:
        if thread.name == "tallystick-accept" and failures and failures.pop():
            raise RuntimeError("can't start new thread")
        begin(thread)

    def greet(raw: socket.socket) -> None:
        with raw:
            raw.sendall(b"hello")

    monkeypatch.setattr(threading.Thread, "start", start)
    with listen(member("127.0.0.1")) as listener:
        loop = threading.Thread(target=accept_loop, args=(listener, greet, over.is_set))
        loop.start()
        heard = []
        for _ in range(2):
            with socket.create_connection(listener.getsockname(), timeout=10) as caller:
                heard.append(caller.recv(5))
        over.set()
        loop.join(10)
    assert heard == [b"", b"hello"]
