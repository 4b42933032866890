"""How a pipeline is put together: from parameters that several share, and tasks that take them.

A recipe names its parameters and says which task follows which. What a task takes by the same name
as the pipeline, it gets from it; so a new parameter of a step is declared once, in
:mod:`pipelines.parameters`.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import docstring_parser
from kfp import dsl

from pipelines.secure import Pods

Given = Mapping[str, Any]
"""What the pipeline was given at run time, by the names of its parameters."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a pipeline: what the Kubeflow UI asks for and explains."""

    kind: Any
    about: str
    default: Any = inspect.Parameter.empty

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty

    def but(self, **changes: Any) -> "Parameter":
        """Return the same parameter with something changed."""
        return replace(self, **changes)


Group = Mapping[str, Parameter]
"""Parameters by name."""


def group(function: Callable[..., None]) -> Group:
    """Return the parameters that a function declares: its signature and its docstring's."""
    explained = docstring_parser.parse(inspect.getdoc(function) or "").params
    about = {one.arg_name: " ".join((one.description or "").split()) for one in explained}
    declared = inspect.signature(function).parameters.values()
    return {one.name: Parameter(one.annotation, about[one.name], one.default) for one in declared}


def recipe(name: str, *groups: Group) -> Callable[[Callable[[Given], None]], Any]:
    """Make a pipeline of a function that adds its tasks.

    Args:
        name: of the pipeline.
        groups: its parameters; where a name stands twice, the later one holds.
    """
    takes = {name: one for group in groups for name, one in group.items()}
    # Python wants those first that have no default.
    takes = dict(sorted(takes.items(), key=lambda item: not item[1].is_required))

    def decorate(body: Callable[[Given], None]) -> Any:
        def pipeline(*values: Any) -> None:
            body(dict(zip(takes, values, strict=True)))

        about = "\n".join(f"    {name}: {one.about}" for name, one in takes.items())
        pipeline.__name__ = body.__name__
        pipeline.__doc__ = f"{inspect.getdoc(body)}\n\nArgs:\n{about}\n"
        pipeline.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                    default=one.default,
                    annotation=one.kind,
                )
                for name, one in takes.items()
            ]
        )
        return dsl.pipeline(pipeline, name=name)

    return decorate


class Tasks:
    """The tasks of one party, placed in its pods."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._pods = Pods(**{field.name: given[field.name] for field in fields(Pods)})

    def add(
        self, component: Any, *, without: Collection[str] = (), **own: Any
    ) -> Mapping[str, Any]:
        """Add a task, and return its outputs.

        Args:
            component: of the step.
            without: what it does not get from the pipeline though it has the same name there.
            own: what it gets from elsewhere: from other tasks, or under another name.
        """
        names = component.component_spec.inputs.keys() - own.keys() - {*without}
        given = {name: self._given[name] for name in names & self._given.keys()}
        task = self._pods(component(**given, **own))
        if "checkpoints" in given:
            self._pods.keep(task, self._given["checkpoint_claim"])
        outputs: Mapping[str, Any] = task.outputs
        return outputs
