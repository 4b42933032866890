"""``tallystick doctor``: what would keep this member from meeting the others?

Run it at every party at the same time; the dealer's service answers by itself. Each finding is one
line: what was looked at, whether it is well, and if not, what to do.
"""

import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tallystick import __version__
from tallystick.runtime import probe
from tallystick.runtime.consortium import Consortium, Member
from tallystick.runtime.errors import TallystickError
from tallystick.runtime.hello import Hello
from tallystick.runtime.identity import KEY_FILE, days_left, tls_contexts
from tallystick.runtime.meeting import Meeting
from tallystick.runtime.mesh import Mesh

MAX_SKEW_S = 60.0
MIN_DAYS = 30
_SLOW_TRIP_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One line of the report."""

    member: str
    what: str
    well: bool
    text: str
    """What was found; where it is not well, also what to do."""


def examine(
    consortium: Consortium, party: str, identity: Path, timeout_s: float
) -> Iterator[Finding]:
    """Look at everything, nearest things first.

    Args:
        consortium: who should be met.
        party: the party that this machine works for.
        identity: folder with its ``tls.key`` and ``tls.crt``.
        timeout_s: how long to wait for the other parties' doctors.
    """
    consortium.rank(party)
    others = [m for m in (*consortium.parties, consortium.dealer) if m.name != party]
    try:
        tls_contexts(consortium, party, identity)
    except TallystickError as error:
        yield Finding(member=party, what="key", well=False, text=str(error))
        return
    yield _key_mode(party, identity / KEY_FILE)
    for member in (consortium.member(party), *others):
        yield _certificate(member)
    for member in others:
        yield _name(member)
    yield from _meet(consortium, party, identity, timeout_s)


def _key_mode(party: str, key: Path) -> Finding:
    mode = stat.S_IMODE(key.stat().st_mode)
    if (key.parent / "..data").is_symlink():
        text = "belongs to the pinned certificate; mounted from a Secret, for this pod alone"
        return Finding(member=party, what="key", well=True, text=text)
    if mode & 0o077:
        text = f"{key} can be read by others (mode {mode:04o}); chmod 600 it"
        return Finding(member=party, what="key", well=False, text=text)
    text = "belongs to the pinned certificate, readable by its owner alone"
    return Finding(member=party, what="key", well=True, text=text)


def _certificate(member: Member) -> Finding:
    days = days_left(member)
    advice = "" if days >= MIN_DAYS else "; make a new one with `tallystick keygen` and exchange it"
    text = f"valid for {days} more days{advice}" if days > 0 else f"not valid now{advice}"
    return Finding(member=member.name, what="certificate", well=days >= MIN_DAYS, text=text)


def _name(member: Member) -> Finding:
    try:
        found = {where[4][0] for where in socket.getaddrinfo(member.host, member.port)}
    except OSError:
        text = f"{member.host} is not known; correct its address in the consortium file, or its DNS"
        return Finding(member=member.name, what="name", well=False, text=text)
    text = f"{member.host} is {', '.join(sorted(map(str, found)))}"
    return Finding(member=member.name, what="name", well=True, text=text)


def _meet(
    consortium: Consortium, party: str, identity: Path, timeout_s: float
) -> Iterator[Finding]:
    hello = Hello(
        session=probe.STEP, step=probe.STEP, member=party, joint={"consortium": consortium.digest()}
    )
    try:
        links, absent = Meeting(consortium, identity, hello).meet_some(timeout_s)
    except TallystickError as error:
        yield Finding(member=party, what="meeting", well=False, text=str(error))
        return
    for name, reason in absent.items():
        port = consortium.member(name).port
        running = "its service" if name == consortium.dealer.name else "`tallystick doctor`"
        text = (
            f"{reason}; check that {running} runs there now, and that port {port} is open both in "
            "its firewall and in ours"
        )
        yield Finding(member=name, what="link", well=False, text=text)
    mesh = Mesh(links)
    try:
        for link in sorted(links, key=lambda link: consortium.order(link.peer)):
            yield from _measure(mesh, consortium, party, link.peer)
        mesh.end()
    except TallystickError as error:
        yield Finding(member=party, what="link", well=False, text=str(error))
        mesh.close()


def _measure(mesh: Mesh, consortium: Consortium, party: str, peer: str) -> Iterator[Finding]:
    if consortium.order(party) > consortium.order(peer):
        probe.answer(mesh, peer)
        found = probe.measure(mesh, peer)
    else:
        found = probe.measure(mesh, peer)
        if peer != consortium.dealer.name:
            probe.answer(mesh, peer)
    both = "certificates and pins fit on both sides, same version " + __version__
    yield Finding(member=peer, what="link", well=True, text=both)
    trip, rate = found.round_trip_s * 1e3, found.bytes_per_s / 1e6
    far = "; every round of a protocol costs that much" if found.round_trip_s > _SLOW_TRIP_S else ""
    text = f"{trip:.2f} ms there and back, {rate:.0f} MB/s{far}"
    yield Finding(member=peer, what="speed", well=True, text=text)
    skew = found.clock_skew_s
    advice = (
        "" if abs(skew) <= MAX_SKEW_S else "; set both clocks by NTP: certificates depend on it"
    )
    text = f"{abs(skew):.2f} s {'ahead of' if skew > 0 else 'behind'} ours{advice}"
    yield Finding(member=peer, what="clock", well=abs(skew) <= MAX_SKEW_S, text=text)
