"""One party's process: its pipeline, run by KFP's local runner, each step a process of its own.

``python -m tallystick.local.party PACKAGE PIPELINE_ROOT ARGUMENTS RETRIES [PLACE]`` with the
arguments as JSON. With a place each step is a container of its own instead.
"""

import json
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from kfp import components, local
from kfp.local import docker_task_handler, graph_utils, subprocess_task_handler

from tallystick.package import LOADER
from tallystick.runtime import events
from tallystick.runtime.errors import ConfigError, DataError, ProtocolViolation

# What an error of these kinds says does not change with another attempt.
_FINAL = frozenset({ConfigError.exit_code, DataError.exit_code, ProtocolViolation.exit_code})


class Attempts:
    """How often the steps may still be started anew, and for whom that is of use.

    A step that was killed, or that lost a peer, is; a wrong parameter or table stays wrong.
    """

    def __init__(self, retries: int) -> None:
        self._left: dict[str, int] = {}
        self._retries = retries

    def ended(self, step: str, code: int) -> int:
        """Take in a step's exit status, and return it.

        Raises:
            RuntimeError: starting the step anew is of no use; KFP would do it all the same.
        """
        left = self._left.setdefault(step, self._retries)
        final = code in _FINAL
        again = bool(code and left and not final)
        events.emit("exited", step=step, code=code, again=again)
        self._left[step] = left - 1
        if final:
            raise RuntimeError(f"{step} ended with exit status {code}, which no retry changes")
        return code


def run_task(
    attempts: Attempts, full_command: Sequence[str], env_vars: Mapping[str, str] | None = None
) -> int:
    """Run one task; stands in for KFP's function of the same purpose, which hides the exit status.

    The exit status is what tells the supervisor a killed step from a failed one.
    """
    name = function(full_command)
    events.emit("launched", step=name)
    code = subprocess.run(  # noqa: S603  the command is the package's own
        full_command,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env_vars or {})},
    ).returncode
    return attempts.ended(name, code)


def run_container_task(
    attempts: Attempts, *, client: Any, image: str, command: Sequence[str], **arguments: Any
) -> int:
    """Run one task in a container; stands in for KFP's function, for the same reason."""
    from tallystick.local import containers

    name = function(command)
    events.emit("launched", step=name)
    code = containers.run(client, image, command, **arguments)
    return attempts.ended(name, code)


def function(command: Sequence[str]) -> str:
    """Return the name of the step that a task's command runs."""
    return command[command.index("--function_to_execute") + 1]


def use_interpreter(full_command: Sequence[str], executable: str) -> list[str]:
    """Put this interpreter into a task's command.

    KFP's own function replaces the text ``python3`` wherever it stands, in a user's paths too.
    """
    code = 1 + next(i for i, part in enumerate(full_command) if "ephemeral_component.py" in part)
    script = [part.replace("python3", shlex.quote(executable)) for part in full_command[:code]]
    return [*script, *full_command[code:]]


def dependencies(tasks: Mapping[str, Any]) -> dict[str, list[str]]:
    """Map each task to those it depends on, in one order at every party.

    A protobuf map is walked in another order by each process: KFP's own function lets one party
    begin with ``evaluate`` while another begins with ``export``, and they wait for each other.
    """
    return {name: list(tasks[name].dependent_tasks) for name in sorted(tasks)}


def adapted(package: Path, image: str | None, retries: int) -> str:
    """Return a package without what is a cluster's alone, and with the image in its place.

    KFP's local runner would wait out a cluster's pauses between retries, warn of each limit that it
    does not keep, and take the name of the parameter that holds the image for the image.
    """
    policy = {"maxRetryCount": retries, "backoffDuration": "1s", "backoffFactor": 1.0}
    documents = [*yaml.load_all(package.read_text(encoding="utf-8"), LOADER)]
    for spec in (document for document in documents if "root" in document):
        for component in (spec["root"], *spec["components"].values()):
            for task in component.get("dag", {}).get("tasks", {}).values():
                if "retryPolicy" in task:
                    task["retryPolicy"] = policy
        for container in _containers(spec):
            container.pop("resources", None)
            if image and container["image"].startswith("{{"):
                container["image"] = image
    return "\n---\n".join(map(json.dumps, documents))  # JSON is YAML


def _containers(spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for executor in spec["deploymentSpec"]["executors"].values():
        if "container" in executor:
            yield executor["container"]


def main(
    package: str, pipeline_root: str, arguments: str, retries: str, place: str | None = None
) -> int:
    """Run the pipeline; the steps' own records say how each went.

    Args:
        package: path of the compiled pipeline.
        pipeline_root: the folder for the artifacts of this party.
        arguments: the pipeline's parameters, as JSON.
        retries: how often a step may be started anew, after it was killed or lost a peer.
        place: where its containers run, if it is not to run processes.

    Returns:
        The process's exit code.
    """
    attempts = Attempts(int(retries))
    parameters = json.loads(arguments)
    graph_utils.build_dependency_map = dependencies
    # KFP doubts any image whose name does not hold "python"; no image is used here.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"kfp\.")
    if place is None:
        subprocess_task_handler.run_local_subprocess = partial(run_task, attempts)
        subprocess_task_handler.replace_python_executable = use_interpreter
        runner = local.SubprocessRunner(use_venv=False)
    else:
        from tallystick.local.containers import Place

        docker_task_handler.run_docker_container = partial(run_container_task, attempts)
        runner = local.DockerRunner(**Place.decode(place).arguments())
    local.init(runner, pipeline_root=pipeline_root)
    pipeline = components.load_component_from_text(
        adapted(Path(package), parameters.get("image"), int(retries))
    )
    try:
        pipeline(**parameters)
    except RuntimeError as error:
        # The failed step has said why; KFP's traceback would only bury it.
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
