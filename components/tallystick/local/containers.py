"""Members in containers: one for each step of each party, one for the dealer, a network for all.

The network is the session's own and leads nowhere else. A container runs as an ordinary user with a
read-only root, reads its own party's table, key and the consortium file, and writes to its own
party's folder. All carry the run's label, by which :mod:`tallystick.local.sweeper` removes them.

``python -m tallystick.local.containers PLACE IMAGE COMMAND...`` runs one container to its end.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import docker
from docker.errors import APIError, DockerException, ImageNotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, Mount

from tallystick.runtime.errors import ConfigError

LABEL = "tallystick.run"
# Who containers run as on behalf of root: any user will do that is not root.
USER = 10001


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a member's containers run, and what of this machine they see."""

    run: str
    """The run's label, and the name of its network."""
    name: str
    """The member's name, by which the others find it on the network."""
    read: Sequence[str]
    """Paths of this machine that it may read, under the same names."""
    write: Sequence[str]
    """Folders of this machine that it may write to, under the same names."""
    environment: Mapping[str, str]

    @classmethod
    def decode(cls, text: str) -> Self:
        """Read what :meth:`encode` wrote."""
        return cls(**json.loads(text))

    def encode(self) -> str:
        """Write it for a command line."""
        return json.dumps(asdict(self))

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of docker's ``create``, and of KFP's DockerRunner."""
        uid = os.getuid() or USER
        return {
            "network": self.run,
            "networking_config": {self.run: EndpointConfig("1.41", aliases=[self.name])},
            "labels": {LABEL: self.run},
            "environment": dict(self.environment),
            "mounts": [
                Mount(path, path, type="bind", read_only=path in self.read)
                for path in (*self.read, *self.write)
            ],
            "user": f"{uid}:{os.getgid()}",
            "read_only": True,
            "tmpfs": {"/tmp": "mode=1777"},  # noqa: S108  the container's own
            "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"],
        }


def engine() -> docker.DockerClient:
    """Connect with the container engine.

    Raises:
        ConfigError: none answers.
    """
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        raise ConfigError(
            f"no container engine answers ({type(error).__name__}); start Docker, or set "
            "DOCKER_HOST, or leave out --runner docker"
        ) from None
    return client


def require_image(client: docker.DockerClient, image: str) -> None:
    """Make sure that an image is on this machine.

    Raises:
        ConfigError: it is not, and no registry gives it.
    """
    try:
        client.images.get(image)
    except ImageNotFound:
        try:
            client.images.pull(image)
        except APIError:
            raise ConfigError(
                f"the image {image} is not on this machine and cannot be pulled; build it with "
                "`make images`, or name another under params: {image: ...}"
            ) from None


def own(path: str) -> None:
    """Give a folder to the user that containers run as on behalf of root."""
    if os.getuid() == 0:
        for folder, _, files in os.walk(path):
            for entry in (folder, *(os.path.join(folder, file) for file in files)):
                os.chown(entry, USER, 0)


def run(client: docker.DockerClient, image: str, command: Sequence[str], **arguments: Any) -> int:
    """Run a container to its end, its output on ours, and return its exit status.

    KFP's own function lets the engine remove the container, and takes one that is gone before it
    is asked for one that succeeded.
    """
    container: Container = client.containers.create(image=image, command=[*command], **arguments)
    try:
        container.start()
        for part in container.logs(stream=True, follow=True):
            sys.stdout.buffer.write(part)
            sys.stdout.flush()
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


if __name__ == "__main__":
    _, place, image, *command = sys.argv
    sys.exit(run(engine(), image, command, **Place.decode(place).arguments()))
