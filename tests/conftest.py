"""Settings for all tests."""

import pytest
from hypothesis import settings

# A machine that others use too makes any single example slow now and then; pytest-timeout watches.
settings.register_profile("tallystick", deadline=None)
settings.load_profile("tallystick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz",
        type=int,
        default=1,
        metavar="TIMES",
        help="feed the parsers of frames, hellos and requests TIMES as many inputs, and others",
    )


@pytest.fixture
def fuzz(request: pytest.FixtureRequest) -> int:
    """How many times as many inputs as by default the parsers are fed; it seeds them too."""
    return int(request.config.getoption("--fuzz"))
