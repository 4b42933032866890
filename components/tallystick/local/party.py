"""One party's process: its pipeline, run by KFP's local runner, each step a process of its own.

``python -m tallystick.local.party PACKAGE PIPELINE_ROOT ARGUMENTS`` with the arguments as JSON.
"""

import json
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from kfp import components, local
from kfp.local import graph_utils, subprocess_task_handler

from tallystick.runtime import events


def run_task(full_command: Sequence[str], env_vars: Mapping[str, str] | None = None) -> int:
    """Run one task; stands in for KFP's function of the same purpose, which hides the exit status.

    The exit status is what tells the supervisor a killed step from a failed one.
    """
    name = full_command[full_command.index("--function_to_execute") + 1]
    events.emit("launched", step=name)
    code = subprocess.run(  # noqa: S603  the command is the package's own
        full_command,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env_vars or {})},
    ).returncode
    events.emit("exited", step=name, code=code)
    return code


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


def main(package: str, pipeline_root: str, arguments: str) -> int:
    """Run the pipeline; the steps' own records say how each went.

    Args:
        package: path of the compiled pipeline.
        pipeline_root: the folder for the artifacts of this party.
        arguments: the pipeline's parameters, as JSON.

    Returns:
        The process's exit code.
    """
    subprocess_task_handler.run_local_subprocess = run_task
    subprocess_task_handler.replace_python_executable = use_interpreter
    graph_utils.build_dependency_map = dependencies
    # KFP doubts any image whose name does not hold "python"; no image is used here.
    warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"kfp\.")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=pipeline_root)
    pipeline = components.load_component_from_file(package)
    try:
        pipeline(**json.loads(arguments))
    except RuntimeError as error:
        # The failed step has said why; KFP's traceback would only bury it.
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
