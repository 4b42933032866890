"""From a ``torch.nn.Module`` to a graph, by tracing it with ``torch.fx``.

The module is executed once on symbols, which yields its operations, and once on random numbers,
which yields their shapes. The result is checked: the graph, computed in plaintext, must give what
the module gives. What has no counterpart on shares is refused by name and place.
"""

import math
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from tallystick.models import plain
from tallystick.models.assembly import finished
from tallystick.models.graph import INPUT, Graph, Node
from tallystick.models.operations_of_torch import FUNCTIONS, METHODS, MODULES, Found, Refusal
from tallystick.runtime.errors import ConfigError

_ROWS = 7
"""Rows of the example: a number that no layer's width is likely to have."""
_TOLERANCE = 1e-6
_FRAME = re.compile(r'File "(.+)", line (\d+)')
_NOT_THE_USERS = (str(Path(torch.__file__).parent), __file__)


def convert(module: nn.Module, feature_shape: tuple[int, ...]) -> tuple[Graph, dict[str, Tensor]]:
    """Convert a module.

    Args:
        module: takes one tensor [rows, *feature_shape], gives one [rows, K].
        feature_shape: of one row.

    Returns:
        The graph, and the values of its parameters and buffers, float64.

    Raises:
        ConfigError: an operation that cannot be done on shares, or an output of another form.
    """
    module = module.double()
    generator = torch.Generator().manual_seed(0)
    example = torch.randn(_ROWS, *feature_shape, generator=generator, dtype=torch.float64)
    module.train()  # a user's own may return nothing
    traced = _traced(module)
    module.eval()
    values = _Values(traced, module, example)
    module.train()  # what each layer says of itself is to be what it does in training
    graph = _Conversion(traced, values.of).graph()
    state = module.state_dict()
    parameters = {name: state[name].detach().clone() for name in graph.shapes}
    module.eval()
    _verify(graph, parameters, module, example)
    return graph, parameters


class _Tracer(fx.Tracer):
    record_stack_traces = True

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m) in MODULES or super().is_leaf_module(m, module_qualified_name)

    def create_node(self, *arguments: Any, **settings: Any) -> fx.Node:
        node = super().create_node(*arguments, **settings)
        node.meta["detached"] = not torch.is_grad_enabled()
        return node


def _traced(module: nn.Module) -> fx.GraphModule:
    try:
        return fx.GraphModule(module, _Tracer().trace(module))
    except Exception as error:  # the module's own code runs here, and may fail in any way
        raise ConfigError(
            f"the model {type(module).__name__} cannot be followed by torch.fx "
            f"({told(error)}); its forward may not branch on values, and must take one tensor"
        ) from None


def told(error: Exception) -> str:
    """Say what happened in the user's own code, and where.

    Not the error's text: the peers hear of it, and the code may have looked at anything.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = next(
        (f for f in reversed(frames) if not f.filename.startswith(_NOT_THE_USERS)), frames[-1]
    )
    return f"{type(error).__name__} at line {where.lineno} of {Path(where.filename).name}"


class _Values(fx.Interpreter):
    """What each node gives on an example."""

    def __init__(self, traced: fx.GraphModule, module: nn.Module, example: Tensor) -> None:
        super().__init__(traced)
        self.of: dict[fx.Node, Any] = {}
        self._at: fx.Node | None = None
        try:
            with torch.no_grad():
                self.run(example)
        except Exception as error:  # the module's own layers run here
            assert self._at is not None
            raise ConfigError(
                f"the model {type(module).__name__} does not fit features of the shape "
                f"{list(example.shape[1:])}: {type(error).__name__} at {_place(self._at)}"
            ) from None

    def run_node(self, n: fx.Node) -> Any:
        self._at = n
        value = self.of[n] = super().run_node(n)
        if isinstance(value, Tensor):
            n.meta["shape"] = tuple(value.shape)  # what a converter may ask of an argument
        return value


class _Conversion:
    """Turns the traced nodes into ours, in order."""

    def __init__(self, traced: fx.GraphModule, values: Mapping[fx.Node, Any]) -> None:
        self._traced = traced
        self._values = values
        self._nodes: dict[str, Node] = {}
        self._parameters = {name: tuple(p.shape) for name, p in traced.named_parameters()}
        self._buffers = {name: tuple(b.shape) for name, b in traced.named_buffers()}
        self._frozen = {name for name, p in traced.named_parameters() if not p.requires_grad}

    def graph(self) -> Graph:
        for node in self._traced.graph.nodes:
            if node.op == "output":
                return self._ended(node)
            # Sizes and the like are no operations on values: their users get the numbers.
            if node.op == "call_module" or isinstance(self._values[node], Tensor):
                if node.op != "get_attr":
                    self._nodes[node.name] = self._converted(node)
        raise AssertionError("a traced module has an output")

    def _converted(self, node: fx.Node) -> Node:
        value = self._values[node]
        if node.op == "placeholder":
            if self._nodes:
                raise _refused(node, "a second input")
            return Node(name=node.name, op=INPUT, shape=tuple(value.shape[1:]))
        found = self._found(node)
        if value.dim() == 0 or value.shape[0] != _ROWS:
            raise _refused(node, f"{found.op}, whose result has no rows first,")
        inputs = [self._input(node, argument) for argument in found.inputs]
        used = {name for name in found.parameters.values() if name not in self._parameters}
        if not used <= self._buffers.keys():
            raise _refused(node, "a parameter that the module does not register")
        return Node(
            name=node.name,
            op=found.op,
            inputs=tuple(inputs),
            parameters=found.parameters,
            attributes=found.attributes,
            shape=tuple(value.shape[1:]),
        )

    def _found(self, node: fx.Node) -> Found:
        """Look the operation up in the table of its kind."""
        try:
            if node.op == "call_module":
                module = self._traced.get_submodule(str(node.target))
                kind = type(module)
                if kind not in MODULES:
                    raise _refused(node, f"the layer {kind.__name__}")
                return MODULES[kind](module, str(node.target), node.args)
            table: Mapping[Any, Any] = FUNCTIONS if node.op == "call_function" else METHODS
            if node.target not in table:
                name = getattr(node.target, "__name__", str(node.target))
                raise _refused(node, f"the operation {name}")
            return table[node.target](*self._public(node.args), **self._public(node.kwargs))  # type: ignore[no-any-return]
        except Refusal as refusal:
            raise _refused(node, str(refusal)) from None
        except TypeError:
            raise _refused(node, f"{node.target} with arguments of another form") from None

    def _public(self, arguments: Any) -> Any:
        """Put numbers for nodes that are numbers, and names for those that are parameters."""

        def replaced(node: fx.Node) -> Any:
            value = self._values[node]
            if node.op == "get_attr":
                return str(node.target)
            return node if isinstance(value, Tensor) else value

        return fx.node.map_arg(arguments, replaced)

    def _input(self, node: fx.Node, argument: Any) -> str:
        if not isinstance(argument, fx.Node) or argument.name not in self._nodes:
            raise _refused(node, "an operation on a constant tensor or a bare parameter")
        return str(argument.name)

    def _ended(self, output: fx.Node) -> Graph:
        (result,) = output.args
        if not isinstance(result, fx.Node) or result.name not in self._nodes:
            raise _refused(output, "an output that is not one tensor")
        return finished(
            [*self._nodes.values()],
            result.name,
            {**self._parameters, **self._buffers},
            self._buffers.keys() | self._parameters.keys() - self._trained(),
        )

    def _trained(self) -> set[str]:
        """Return the parameters that a gradient reaches: frozen ones and ``no_grad`` have none."""
        nodes = {
            node: self._nodes[node.name]
            for node in self._traced.graph.nodes
            if node.name in self._nodes
        }
        trained = {
            name
            for node, ours in nodes.items()
            if not node.meta["detached"]
            for name in ours.parameters.values()
            if name not in self._frozen
        }
        learning: set[str] = set()
        for node, ours in nodes.items():
            if trained.intersection(ours.parameters.values()) or learning.intersection(ours.inputs):
                learning.add(ours.name)
                if node.meta["detached"]:
                    raise _refused(node, "torch.no_grad on what depends on a trained parameter")
        return trained


def _place(node: fx.Node) -> str:
    place = f"layer {node.target!r}" if node.op == "call_module" else f"operation {node.name!r}"
    if node.stack_trace:
        frames = _FRAME.findall(node.stack_trace)
        own = [frame for frame in frames if not frame[0].startswith(_NOT_THE_USERS)]
        if own:
            file, line = own[-1]
            place += f", line {line} of {Path(file).name}"
    return place


def _refused(node: fx.Node, what: str) -> ConfigError:
    return ConfigError(
        f"the model cannot be shared: {what} at {_place(node)} has no counterpart on shares; the "
        "operations that have one are listed in the train step's README"
    )


def _verify(
    graph: Graph, parameters: Mapping[str, Tensor], module: nn.Module, example: Tensor
) -> None:
    """Refuse a graph that gives something else than the module.

    This finds what tracing cannot see: code that depends on ``self.training``, and results that are
    used again after an operation changed them in place.
    """
    with torch.no_grad():
        expected = module(example)
        scores = plain.run(graph, parameters, example)
    if graph.final == "softmax":
        scores = scores.softmax(-1)
    elif graph.final == "sigmoid":
        scores = scores.sigmoid()
    error = (scores.reshape(expected.shape) - expected).abs().max() if expected.numel() else 0.0
    if not math.isfinite(float(error)) or float(error) > _TOLERANCE * (
        1 + float(expected.abs().max())
    ):
        raise ConfigError(
            f"the model {type(module).__name__} does not give the same when its operations are "
            "done one by one; it may not depend on self.training by itself, nor use a value that "
            "was changed in place"
        )
