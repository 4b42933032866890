import contextlib
import socket

import pytest
from tallystick.runtime.consortium import Member
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.listening import listen


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
