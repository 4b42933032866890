"""Places that many tests share: keys and a consortium file, and where it is needed a dealer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import harness


@pytest.fixture(scope="session", params=[2, 3], ids=["two", "three"])
def members(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A place without processes, for parties that are threads."""
    return harness.make_place(tmp_path_factory.mktemp("members"), request.param)


@pytest.fixture(scope="session", params=[2, 3], ids=["two", "three"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[harness.Place]:
    """A place whose dealer runs, and goes on running from test to test."""
    place = harness.make_place(tmp_path_factory.mktemp("place"), request.param)
    with harness.dealer(place):
        yield place


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[harness.Place]:
    """Two parties and a dealer of their own."""
    place = harness.make_place(tmp_path, 2)
    with harness.dealer(place):
        yield place
