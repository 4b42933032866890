"""What a member's process is: a process of this machine, or one that runs containers."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from tallystick.images import PARTY
from tallystick.job import Job, paths
from tallystick.local.workspace import Workspace, free_ports
from tallystick.runtime.configuration import JSON
from tallystick.runtime.errors import ConfigError

# Each member has an address of its own there, so all may have the port of the documentation.
PORT = 7700
# The parameter that names a folder which a step writes to.
KEPT = "checkpoints"


class Runner(AbstractContextManager["Runner"], Protocol):
    """How the members of one run are started; as a context, what they need meanwhile."""

    def addresses(self, members: Iterable[str]) -> Mapping[str, str]:
        """Return where each member listens, as ``host:port``."""

    def dealer(self, environment: Mapping[str, str]) -> list[str]:
        """Return the module that is the dealer, and its arguments."""

    def party(
        self, name: str, arguments: Mapping[str, JSON], environment: Mapping[str, str]
    ) -> list[str]:
        """Return the module that runs a party's pipeline, and its arguments."""


class Processes:
    """Every step is a process of this machine."""

    def __init__(self, job: Job, workspace: Workspace, retries: int) -> None:
        self._job, self._workspace, self._retries = job, workspace, retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Nothing is left to do: the processes are tethered to this one."""

    def addresses(self, members: Iterable[str]) -> Mapping[str, str]:
        """Give each member a port of the loopback interface."""
        names = [*members]
        return {
            name: f"127.0.0.1:{port}"
            for name, port in zip(names, free_ports(len(names)), strict=True)
        }

    def dealer(self, environment: Mapping[str, str]) -> list[str]:
        """Run the dealer's service."""
        identity = self._workspace.identity(self._job.dealer)
        command = ["tallystick.runtime.dealer", "--consortium", str(self._workspace.consortium)]
        return [*command, "--identity", str(identity)]

    def party(
        self, name: str, arguments: Mapping[str, JSON], environment: Mapping[str, str]
    ) -> list[str]:
        """Run the pipeline, each step a process of its own."""
        root = self._workspace.of(name) / "pipeline"
        command = ["tallystick.local.party", str(self._job.package.path), str(root)]
        return [*command, json.dumps(arguments), str(self._retries)]


class Containers(Processes):
    """Every step is a container, on a network of the run's own."""

    def __init__(self, job: Job, workspace: Workspace, retries: int) -> None:
        """Look for the engine and the image.

        Raises:
            ConfigError: no engine answers, or the image is neither here nor to be had.
        """
        super().__init__(job, workspace, retries)
        from tallystick.local import containers

        self._docker = containers
        self._run = f"tallystick-{uuid.uuid4().hex[:12]}"
        self._image = str(job.params.get("image", PARTY))
        containers.require_image(containers.engine(), self._image)

    def __enter__(self) -> Self:
        for name in (*self._job.parties, self._job.dealer):
            # The engine would make it for root, who may not be the one who writes there.
            (self._workspace.of(name) / "pipeline").mkdir(exist_ok=True)
            self._docker.own(str(self._workspace.of(name)))
            self._docker.own(str(self._workspace.identity(name)))
        self._sweeper = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-m", "tallystick.local.sweeper", self._run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._sweeper.stdout is not None
        if not self._sweeper.stdout.readline():
            raise ConfigError("the container engine made no network for this run; see above")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the containers and the network."""
        self._sweeper.communicate()

    def addresses(self, members: Iterable[str]) -> Mapping[str, str]:
        """Call each member by its name, which the run's network knows."""
        return {name: f"{name}:{PORT}" for name in members}

    def dealer(self, environment: Mapping[str, str]) -> list[str]:
        """Run the dealer's service in a container."""
        command = super().dealer(environment)
        place = self._place(self._job.dealer, [], [], environment)
        module = ["tallystick.local.containers", place, self._image]
        return [*module, "python3", "-m", *command]

    def party(
        self, name: str, arguments: Mapping[str, JSON], environment: Mapping[str, str]
    ) -> list[str]:
        """Run the pipeline, each step a container of its own."""
        own = [path for key, path in paths(arguments) if key != KEPT]
        kept = [path for key, path in paths(arguments) if key == KEPT]
        for folder in kept:
            folder.mkdir(parents=True, exist_ok=True)
            self._docker.own(str(folder))
        if "image" in self._job.package.inputs:
            arguments = {**arguments, "image": self._image}
        command = super().party(name, arguments, environment)
        return [*command, self._place(name, own, kept, environment)]

    def _place(
        self, name: str, own: list[Path], kept: list[Path], environment: Mapping[str, str]
    ) -> str:
        workspace = self._workspace
        seen = [workspace.consortium, workspace.identity(name), *own]
        passed = ("MLFLOW_TRACKING_URI", "OMP_NUM_THREADS")
        return self._docker.Place(
            run=self._run,
            name=name,
            # A table that is not there is the step's to complain of.
            read=[str(path) for path in seen if path.exists()],
            write=[str(workspace.of(name)), *map(str, kept)],
            environment={key: environment[key] for key in passed if key in environment},
        ).encode()
