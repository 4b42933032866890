"""A compiled pipeline package, read without KFP: which parameters it takes, which steps it runs.

Checking a job against the package costs milliseconds this way; importing KFP costs seconds.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Self

import yaml

from tallystick.runtime.configuration import JSON
from tallystick.runtime.errors import ConfigError

DOUBLE = "NUMBER_DOUBLE"
# KFP's parameter types: how a message names them, and the Python types of their YAML values.
KINDS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "STRING": ("text", (str,)),
    "NUMBER_INTEGER": ("a whole number", (int,)),
    DOUBLE: ("a number", (int, float)),
    "BOOLEAN": ("true or false", (bool,)),
    "LIST": ("a list", (list,)),
    "STRUCT": ("a mapping", (dict,)),
}
# PyYAML's safe loader in C, where it was built with one, takes a tenth of the time.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A wheel carries the packages beside the code; a checkout keeps them beside their recipes.
FOLDERS = (
    Path(__file__).parent / "compiled",
    Path(__file__).parents[2] / "pipelines" / "compiled",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """One step of a pipeline."""

    step: str
    """The step of ours that it runs, such as ``psi``; empty for somebody else's component."""
    arguments: Mapping[str, Any]
    """What each parameter is given, by name, in KFP's words: a pipeline's parameter, a value..."""
    defaults: Mapping[str, JSON]
    """The values of the component's parameters that are not given, by name."""
    artifacts: frozenset[str]
    """Names of the artifacts that it is given, and of those that it makes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """What a job may say to a pipeline."""

    name: str
    """The pipeline's own name."""
    path: Path
    """The YAML file that one uploads in the Kubeflow UI."""
    inputs: Mapping[str, str]
    """KFP's type of each parameter, by name."""
    defaults: Mapping[str, JSON]
    """The values of parameters that are not given, by name."""
    required: frozenset[str]
    """Names of the parameters that have no default."""
    tasks: Mapping[str, Task]
    """By name, each after those that it depends on."""

    @property
    def steps(self) -> tuple[str, ...]:
        """Names of the tasks, each after those that it depends on."""
        return (*self.tasks,)

    @classmethod
    def find(cls, name_or_path: str, folder: Path) -> Self:
        """Load a package that a job names.

        Args:
            name_or_path: the name of one of tallystick's own pipelines, or the path of a package.
            folder: what a relative path is relative to.

        Raises:
            ConfigError: there is no such pipeline or file, or the file is no compiled pipeline.
        """
        if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
            return cls.load(folder / name_or_path)
        known = {path.stem: path for place in FOLDERS for path in sorted(place.glob("*.yaml"))}
        if name_or_path not in known:
            known = {name: path for name, path in known.items() if "party" in cls.load(path).inputs}
            raise ConfigError(
                f"pipeline: there is no pipeline {name_or_path!r}; choose one of "
                f"{names(known)}, or give the path of a compiled package"
                f"{suggestion(name_or_path, known)}"
            )
        return cls.load(known[name_or_path])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a compiled package.

        Raises:
            ConfigError: the file cannot be read, or it is no compiled pipeline.
        """
        try:
            documents = [*yaml.load_all(path.read_text(encoding="utf-8"), LOADER)]
            spec = next(d for d in documents if isinstance(d, dict) and "root" in d)
            inputs = spec["root"].get("inputDefinitions", {}).get("parameters", {})
            tasks: Mapping[str, Any] = spec["root"]["dag"]["tasks"]
            after = {name: sorted(task.get("dependentTasks", ())) for name, task in tasks.items()}
            return cls(
                name=spec["pipelineInfo"]["name"],
                path=path.resolve(),
                inputs={name: declared["parameterType"] for name, declared in inputs.items()},
                defaults={
                    name: declared["defaultValue"]
                    for name, declared in inputs.items()
                    if "defaultValue" in declared
                },
                required=frozenset(
                    name
                    for name, declared in inputs.items()
                    if "defaultValue" not in declared and not declared.get("isOptional")
                ),
                tasks={
                    name: _task(spec, tasks[name])
                    for name in TopologicalSorter(dict(sorted(after.items()))).static_order()
                },
            )
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"pipeline: {path} cannot be read: {error}") from None
        except (
            yaml.YAMLError,
            StopIteration,
            KeyError,
            TypeError,
            AttributeError,
            CycleError,
        ) as error:
            raise ConfigError(
                f"pipeline: {path} is no compiled pipeline ({type(error).__name__}); "
                "compile one with the KFP compiler, as pipelines/build.py does"
            ) from None

    def check(self, where: str, parameters: Mapping[str, JSON]) -> None:
        """Refuse parameters that this pipeline does not take, or values of another kind.

        Args:
            where: the part of the job that holds them, for the message.
            parameters: values, by parameter name.

        Raises:
            ConfigError: names the parameter, and what is allowed.
        """
        for name, value in parameters.items():
            if name not in self.inputs:
                raise ConfigError(
                    f"{where}: the pipeline {self.name!r} has no parameter {name!r}"
                    f"{suggestion(name, self.inputs)} It knows {names(self.inputs)}"
                )
            wanted, types = KINDS.get(self.inputs[name], ("", (object,)))
            # In Python a bool is an int; in a job file `epochs: true` is a slip.
            if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
                raise ConfigError(
                    f"{where}.{name} must be {wanted}, not {kind(value)}{_as_number(value, types)}"
                )

    def typed(self, name: str, value: JSON) -> JSON:
        """Return a checked value as KFP wants it, which takes no whole number for another one."""
        return float(value) if self.inputs[name] == DOUBLE else value  # type: ignore[arg-type]


def _task(spec: Mapping[str, Any], task: Mapping[str, Any]) -> Task:
    component = spec.get("components", {}).get(task.get("componentRef", {}).get("name"), {})
    executors = spec.get("deploymentSpec", {}).get("executors", {})
    source = str(executors.get(component.get("executorLabel")))
    ours = re.search(r"from tallystick\.(\w+) import step\b", source)
    given, inputs = task.get("inputs", {}), component.get("inputDefinitions", {})
    made = component.get("outputDefinitions", {}).get("artifacts", {})
    return Task(
        step=ours[1] if ours else "",
        arguments=given.get("parameters", {}),
        defaults={
            name: declared["defaultValue"]
            for name, declared in inputs.get("parameters", {}).items()
            if "defaultValue" in declared
        },
        artifacts=frozenset({*given.get("artifacts", {}), *made}),
    )


def _as_number(value: object, types: tuple[type, ...]) -> str:
    """Say how a number is written that YAML took for text, as it takes 1e-3; else nothing."""
    try:
        number = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ""
    if not math.isfinite(number) or float not in types:
        return ""
    # YAML wants a point and a sign in it: 1.0e-05.
    text = repr(number)
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")
    return f"; write {text}, without quotes"


def kind(value: object) -> str:
    """Name the kind of a YAML value, as a message wants it."""
    for wanted, types in KINDS.values():
        if type(value) in types:
            return wanted
    return "nothing" if value is None else f"a {type(value).__name__}"


def names(known: Iterable[str]) -> str:
    """List names for a message."""
    return ", ".join(sorted(known)) or "none"


def suggestion(name: object, known: Iterable[str]) -> str:
    """Ask whether a similar name was meant; empty when none is similar."""
    close = difflib.get_close_matches(str(name), [*known], n=1)
    return f"; did you mean {close[0]!r}?" if close else "."
