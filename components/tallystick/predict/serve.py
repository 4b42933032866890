"""Keep a model ready, and answer one party's requests: prediction whose start-up is paid once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick import tracking
from tallystick.predict import question
from tallystick.predict.desk import Desk
from tallystick.predict.forms import Columns, Form, Matched, Values
from tallystick.predict.layout import Layout
from tallystick.predict.question import Asked, Question
from tallystick.predict.rows import open_rows
from tallystick.predict.service import Service
from tallystick.runtime import events, life
from tallystick.runtime.errors import ProtocolViolation
from tallystick.runtime.session import Session
from tallystick.tables.preparation import Preparation

ROWS = ("sent", "matched")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(Question):
    """What one party's side of a service is told."""

    rows: str = "sent"
    """sent: each request carries its rows, whose features are the receiver's alone; matched: it
    names rows that psi matched, of which each party has its own features."""
    max_rows: int = 64
    """The most rows of a request, and of a batch."""
    most_rows: int = 0
    """The most rows that this party lets the receiver have in this session; 0 for no limit."""
    listen: str = ""
    """At the receiver, host:port of its endpoint; empty elsewhere."""
    tls: str = ""
    """At the receiver, the folder with the endpoint's tls.key and tls.crt; empty on loopback."""
    token: str = ""
    """At the receiver, the file with the bearer token, which nobody else can read."""
    max_waiting: int = 1024
    """The most rows that wait at the receiver; requests beyond them are refused."""
    window_ms: int = 5
    """How long a request waits at the receiver for others to go through with it."""
    max_kilobytes: int = 16_384
    """The most that a request to the receiver may have."""

    LOCAL = Question.LOCAL | {
        *("most_rows", "listen", "tls", "token", "max_waiting", "window_ms", "max_kilobytes"),
    }

    def __post_init__(self) -> None:
        """Check ranges, and that the receiver alone has an endpoint."""
        Question.__post_init__(self)
        self.require(self.rows in ROWS, "rows", f"one of {ROWS}")
        self.require(
            (self.rows == "matched") == (self.aligned is not None),
            "aligned",
            "the artifact of psi where rows is matched, and empty where it is sent",
        )
        self.require(1 <= self.max_rows <= 256, "max_rows", "from 1 to 256")
        self.require(self.most_rows >= 0, "most_rows", "0 or more")
        self.require(0 <= self.window_ms <= 10_000, "window_ms", "from 0 to 10000")
        self.require(
            self.max_rows <= self.max_waiting <= 1 << 20, "max_waiting", "from max_rows to 2**20"
        )
        self.require(1 <= self.max_kilobytes <= 1 << 20, "max_kilobytes", "from 1 to 2**20")
        asks = self.party == self.receiver
        for name in ("listen", "token"):
            allowed = f"set, since {self.party} asks" if asks else "empty at a party that asks not"
            self.require(bool(getattr(self, name)) == asks, name, allowed)


@life.step("serve")
def run(config: Config) -> int:
    """Run this party's side of the service until somebody is told to stop.

    Returns:
        The number of rows that were answered.
    """
    aligned = question.aligned(config)
    matched = _matched(config)
    asked = question.read(config)
    form = _form(config, matched, asked)
    if form is not None:
        asked.require_fit(form)
    desk = Desk(
        max_rows=config.max_rows,
        max_waiting=config.max_waiting,
        window_s=config.window_ms / 1000,
    )
    with (
        _endpoint(config, form, desk) if form and config.listen else nullcontext(),
        tracking.run(session=config.session, party=config.party, step="serve") as log,
        Session.join(config, "serve") as session,
        _told_to_stop() as stop,
    ):
        if aligned is not None:
            session.agree(aligned)
        model = asked.model(session)
        service = Service(config, session, model, asked.class_names(model), matched)
        service.layout = Layout(session, form, asked.shape(model))
        most_rows = _agreed_limit(config, session)
        events.emit("ready", party=config.party)
        if config.party == config.receiver:
            desk.open(most_rows)
            service.ask(desk, stop)
        else:
            service.answer(stop)
        log.parameters({"receiver": config.receiver, "output": config.output})
        log.json("reveals/serve.json", session.ledger.as_json())
        session.result(rows=service.rows)
    return service.rows


def _matched(config: Config) -> Matched | None:
    """Read this party's matched rows, if rows are matched."""
    if config.aligned is None:
        return None
    rows = open_rows(
        config.reveals.parent,
        aligned=config.aligned,
        data="",
        id_columns=config.id_columns,
        prepared=config.prepared,
        reading={},
        rules={},
    )
    assert rows is not None
    return Matched(rows, config.max_rows)


def _form(config: Config, matched: Matched | None, asked: Asked) -> Form | None:
    """Return what a request must hold, which is what this party brings; None if it brings none."""
    if matched is not None or config.party != config.receiver:
        return matched
    if config.prepared:
        return Columns(Preparation.read(Path(config.prepared)), config.max_rows)
    return Values(asked.shape(asked.chosen.shared), config.max_rows)


def _agreed_limit(config: Config, session: Session) -> int:
    """Return the least number of rows that a party allows; 0 if none has a limit."""
    told = [answer.get("most_rows") for answer in session.exchange({"most_rows": config.most_rows})]
    limits = [limit for limit in told if type(limit) is int and limit > 0]
    if len(limits) + told.count(0) != len(told):
        raise ProtocolViolation("a party did not say how many rows it allows")
    return min(limits, default=0)


def _endpoint(config: Config, form: Form, desk: Desk) -> Any:
    from tallystick.predict.endpoint import Endpoint

    return Endpoint(
        config.listen,
        tls=config.tls,
        token=config.token,
        form=form,
        about={
            "session": config.session,
            "output": config.output,
            "max_rows": config.max_rows,
        },
        desk=desk,
        max_bytes=config.max_kilobytes << 10,
    )


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    """Note a request to end, instead of dying of it."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
