"""Places whose dealer is a thread."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tallystick.runtime import mesh

from tests.harness import Place
from tests.parties.meeting.room import met, served


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(mesh, "LINGER_S", 0.3)
    yield
    while met:
        met.pop().close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with served(tmp_path, 2) as place:
        yield place


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Place]:
    with served(tmp_path, 3) as place:
        yield place
