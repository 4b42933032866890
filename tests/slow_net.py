"""A slow network on this machine, for processes that know nothing of it: ours and others'.

Each host is a network namespace of its own, whose only way out is a TUN device: what the kernel
sends there we read as IP packets. One router holds every packet for the delay and writes it to the
device of the host that it is for. So TCP itself meets the delay, its handshakes, windows and
acknowledgements too, whoever uses it: our links, Gloo or brpc. Nothing is lost or put out of order,
and nothing but the router's own speed limits what passes: ``python -m tests.slow_net`` measures it.

Making a namespace needs root, and /dev/net/tun. Only this process holds the namespaces and devices
open, so when it ends, however it ends, they are gone, once no host's process is left.
"""

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

DEVICE = "tun0"
_MTU = 65535  # few packets, for each costs the router the same, however long it is
_NEW_NET = 0x40000000  # CLONE_NEWNET
_SET_DEVICE, _TUN, _NO_INFORMATION = 0x400454CA, 0x0001, 0x1000  # TUNSETIFF, IFF_TUN, IFF_NO_PI
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine, as it looks to a process that entered it."""

    address: str
    namespace: str
    """The file that stands for it as long as the network is open."""

    def enter(self) -> None:
        """Move the calling thread, and all that it will start, to this host."""
        with open(self.namespace) as namespace:
            _check(_libc.setns(namespace.fileno(), _NEW_NET))


@contextmanager
def slow_net(names: Sequence[str], delay_s: float) -> Iterator[dict[str, Host]]:
    """Make hosts by name, so long apart one way.

    Raises:
        OSError: this process may not make them, or this system cannot.
    """
    with ExitStack() as opened:
        hosts, devices = {}, {}
        for number, name in enumerate(names, start=1):
            address = f"10.77.0.{number}"
            namespace, device = _make(address)
            opened.callback(os.close, namespace)
            opened.callback(os.close, device)
            hosts[name] = Host(address, f"/proc/{os.getpid()}/fd/{namespace}")
            devices[socket.inet_aton(address)] = device
        stop, stopped = os.pipe()
        opened.callback(os.close, stop)
        router = threading.Thread(target=_route, args=(devices, delay_s, stop), daemon=True)
        router.start()
        opened.callback(router.join)
        opened.callback(os.close, stopped)
        yield hosts


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _make(address: str) -> tuple[int, int]:
    """Make a namespace and its device, and return both, open."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(_NEW_NET))
        namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            device = _make_device(address)
        except BaseException:
            os.close(namespace)
            raise
        finally:
            _check(_libc.setns(home, _NEW_NET))
    finally:
        os.close(home)
    return namespace, device


def _make_device(address: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", DEVICE.encode(), _TUN | _NO_INFORMATION)
        fcntl.ioctl(device, _SET_DEVICE, request)
        for command in (
            f"address add {address}/24 dev {DEVICE}",
            f"link set {DEVICE} mtu {_MTU} up",
            "link set lo up",
        ):
            try:
                subprocess.run(["ip", *command.split()], check=True, capture_output=True)
            except subprocess.CalledProcessError as error:
                raise OSError(f"ip {command}: {error.stderr.decode().strip()}") from None
    except BaseException:
        os.close(device)
        raise
    return device


def _route(devices: dict[bytes, int], delay_s: float, stop: int) -> None:
    """Pass packets on until ``stop`` is closed at its other end.

    All are held equally long, so they leave in the order in which they came.
    """
    # Before the members, whom it would delay for longer than it says.
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -10)
    held: deque[tuple[float, int, bytes]] = deque()
    waiting = [*devices.values(), stop]
    while True:
        timeout_s = max(0.0, held[0][0] - time.monotonic()) if held else None
        ready, _, _ = select.select(waiting, [], [], timeout_s)
        if stop in ready:
            return
        for device in ready:
            _take(device, devices, time.monotonic() + delay_s, held)
        while held and held[0][0] <= time.monotonic():
            _, device, packet = held.popleft()
            os.write(device, packet)


def _take(
    device: int, devices: dict[bytes, int], due: float, held: deque[tuple[float, int, bytes]]
) -> None:
    """Read what a device has to send, for hosts that there are."""
    for _ in range(64):  # then those that are due have their turn
        try:
            packet = os.read(device, _MTU)
        except BlockingIOError:
            return
        target = devices.get(packet[16:20]) if packet[0] >> 4 == 4 else None
        if target is not None:
            held.append((due, target, packet))


def _echo(host: Host) -> None:
    host.enter()
    with socket.create_server((host.address, 7700)) as door:
        connection, _ = door.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while content := connection.recv(1 << 20):
        connection.sendall(content)


def _call(host: Host, far: Host) -> None:
    host.enter()
    with socket.create_connection((far.address, 7700)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for size, times in ((1, 50), (10**6, 20), (10**8, 3), (10**6, 20)):
            began = time.perf_counter()
            for _ in range(times):
                # In a thread, for the echo begins before it has sent all.
                sender = threading.Thread(target=connection.sendall, args=(bytes(size),))
                sender.start()
                left = size
                while left:
                    left -= len(connection.recv(1 << 20))
                sender.join()
            took_s = (time.perf_counter() - began) / times
            print(f"{size} bytes there and back: {took_s * 1e3:.1f} ms")


if __name__ == "__main__":
    with slow_net(("near", "far"), 0.01) as made:
        echo = threading.Thread(target=_echo, args=(made["far"],), daemon=True)
        echo.start()
        time.sleep(0.5)
        call = threading.Thread(target=_call, args=(made["near"], made["far"]))
        call.start()
        call.join()
