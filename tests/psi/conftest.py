"""One consortium for all that meets in threads."""

import pytest

from tests import harness
from tests.psi.room import Room


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Room:
    return Room(harness.make_place(tmp_path_factory.mktemp("room"), 3))
