"""The built image, where there is an engine that has it."""

import shutil
import subprocess
from collections.abc import Callable, Sequence

import pytest
from tallystick import images

# As a restricted namespace runs it: a user that Kubernetes made up, and nothing to write to.
RESTRICTED = (
    "--read-only --user 1000660000:0 --cap-drop ALL --security-opt no-new-privileges "
    "--network none --tmpfs /tmp"
).split()

InImage = Callable[..., str]


def docker(*arguments: str, input: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["docker", *arguments], input=input, capture_output=True, text=True, timeout=240
    )


@pytest.fixture(scope="session", autouse=True)
def image() -> str:
    """The image's name; without an engine or the image, every test here is skipped."""
    if shutil.which("docker") is None or docker("info").returncode:
        pytest.skip("no container engine can be started here")
    if docker("image", "inspect", images.PARTY).returncode:
        pytest.skip(f"{images.PARTY} is not here: `make images` or `make images-offline` builds it")
    return images.PARTY


@pytest.fixture(scope="session")
def in_image(image: str) -> InImage:
    """Run a command in the image as in a restricted namespace, and return what it says."""

    def run(command: Sequence[str], *options: str) -> str:
        done = docker("run", "--rm", *RESTRICTED, *options, image, *command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run
