"""Places whose dealer runs, for trainings of two and of three parties."""

from collections.abc import Iterator

import pytest

from tests import harness


@pytest.fixture(scope="session", params=[2, 3], ids=["two", "three"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[harness.Place]:
    """A place whose dealer goes on running from test to test."""
    place = harness.make_place(tmp_path_factory.mktemp("place"), request.param)
    with harness.dealer(place):
        yield place


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Place]:
    """Two parties."""
    place = harness.make_place(tmp_path_factory.mktemp("pair"), 2)
    with harness.dealer(place):
        yield place
