"""From an exported torch program (``torch.export.save``, .pt2) to a graph.

``torch.export.load`` may unpickle, so it is not used: the archive is a ZIP file whose program is
JSON and whose weights are raw numbers, and these are all that is read. Weights that the archive
keeps as pickles are refused.
"""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from tallystick.models.assembly import Assembly, Shape, Value
from tallystick.models.graph import Graph
from tallystick.models.operations_of_torch import FUNCTIONS, METHODS, Found, Refusal
from tallystick.runtime.errors import ConfigError, DataError

_PROGRAM = "models/model.json"
_WEIGHTS = "data/weights/model_weights_config.json"
_UNREADABLE = (OSError, zipfile.BadZipFile, StopIteration, LookupError, ValueError, TypeError)
# The numbers of torch's export schema.
_TYPES = {6: torch.float16, 7: torch.float32, 8: torch.float64, 13: torch.bfloat16, 5: torch.int64}


def read(path: Path, feature_shape: Shape) -> tuple[Graph, dict[str, Tensor]]:
    """Read a program.

    Args:
        path: the .pt2 file.
        feature_shape: of one row.

    Returns:
        The graph, and the values of its parameters and running statistics, float64.

    Raises:
        ConfigError: an operation that cannot be done on shares, or another input or output.
        DataError: it is no exported program, or one whose weights are pickled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(n for n in archive.namelist() if n.endswith(_PROGRAM))[: -len(_PROGRAM)]
            program = json.loads(archive.read(root + _PROGRAM))
            weights = _weights(archive, root, path.name)
        return _Conversion(program["graph_module"], weights, feature_shape).graph()
    except _UNREADABLE:
        raise DataError(
            f"{path.name} cannot be read as an exported torch program; write it with "
            "torch.export.save of this version of torch"
        ) from None


def _weights(archive: zipfile.ZipFile, root: str, name: str) -> dict[str, Tensor]:
    found = {}
    for weight, entry in json.loads(archive.read(root + _WEIGHTS))["config"].items():
        if entry["use_pickle"]:
            raise DataError(
                f"{name}: the weight {weight!r} is stored as a pickle, which could run code; "
                "export the model on the CPU with plain tensors"
            )
        meta = entry["tensor_meta"]
        content = bytearray(archive.read(f"{root}data/weights/{entry['path_name']}"))
        flat = torch.frombuffer(content, dtype=_TYPES[meta["dtype"]]) if content else torch.empty(0)
        sizes = [int(size["as_int"]) for size in meta["sizes"]]
        strides = [int(stride["as_int"]) for stride in meta["strides"]]
        begin = int(meta["storage_offset"]["as_int"])
        reach = begin + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if min([*sizes, *strides, begin], default=0) < 0 or reach >= len(flat):
            raise ValueError("a weight beyond its file")
        found[weight] = torch.as_strided(flat, sizes, strides, begin)
    return found


class _Conversion:
    def __init__(
        self, module: Mapping[str, Any], weights: Mapping[str, Tensor], feature_shape: Shape
    ) -> None:
        self._graph = module["graph"]
        self._weights = weights
        self._assembly = Assembly(feature_shape)
        self._known: dict[str, Any] = {}
        self._rows: Any = None
        for entry in module["signature"]["input_specs"]:
            self._take(entry, feature_shape)
        if self._rows is None:
            raise ConfigError("the model has no input")

    def graph(self) -> tuple[Graph, dict[str, Tensor]]:
        for node in self._graph["nodes"]:
            self._convert(node)
        outputs = [o["as_tensor"]["name"] for o in self._graph["outputs"] if "as_tensor" in o]
        if len(outputs) != 1 or not isinstance(self._known.get(outputs[0]), Value):
            raise ConfigError(f"the model has {len(outputs)} outputs; one with scores is needed")
        return self._assembly.finish(self._known[outputs[0]])

    def _take(self, entry: Mapping[str, Any], feature_shape: Shape) -> None:
        """Take in a parameter, a running statistic, or the one input."""
        for kind in ("parameter", "buffer"):
            if kind in entry:
                name = entry[kind][f"{kind}_name"]
                if name in self._weights:
                    self._known[entry[kind]["arg"]["name"]] = (name, kind == "buffer")
                return
        if "user_input" not in entry:
            return  # a constant: refused where it is used
        name = entry["user_input"]["arg"].get("as_tensor", {}).get("name")
        if name is None or self._rows is not None:
            raise ConfigError("the model has a second input, or one that is no tensor")
        rows, *sizes = self._graph["tensor_values"][name]["sizes"]
        declared = [size.get("as_int") for size in sizes]
        if declared != list(feature_shape):
            raise ConfigError(
                f"the model takes rows of the shape {[size or 'any' for size in declared]}, and "
                f"feature_shape is {list(feature_shape)}; they must be the same"
            )
        self._rows, self._known[name] = rows, self._assembly.input

    def _convert(self, node: Mapping[str, Any]) -> None:
        outputs = [o["as_tensor"]["name"] for o in node["outputs"] if "as_tensor" in o]
        if not outputs:
            return  # a size or a check: no operation on values
        operation = str(node["target"]).removeprefix("torch.ops.aten.").partition(".")[0]
        name = str(node.get("name") or outputs[0])
        try:
            if operation not in _OPERATIONS or len(node["outputs"]) != 1:
                raise Refusal(f"the operation {node['target']}")
            rows, *sizes = self._graph["tensor_values"][outputs[0]]["sizes"]
            if rows != self._rows:
                raise Refusal(f"{operation}, whose result has no rows first,")
            positional = [self._argument(i["arg"]) for i in node["inputs"] if i["kind"] == 1]
            named = {i["name"]: self._argument(i["arg"]) for i in node["inputs"] if i["kind"] == 2}
            found = _OPERATIONS[operation](*positional, **named)
            shape = tuple(int(size["as_int"]) for size in sizes)
            self._known[outputs[0]] = self._assembly.add(outputs[0], found, shape)
        except Refusal as refusal:
            raise _refused(str(refusal), name, operation) from None
        except (TypeError, AttributeError):
            raise _refused("arguments of another form", name, operation) from None

    def _argument(self, argument: Mapping[str, Any]) -> Any:
        ((kind, value),) = argument.items()
        if kind == "as_tensor":
            return self._tensor(value["name"])
        if kind == "as_tensors":
            return [self._tensor(entry["name"]) for entry in value]
        return None if kind == "as_none" else value

    def _tensor(self, name: str) -> Any:
        known = self._known.get(name)
        if isinstance(known, tuple):
            weight, is_buffer = known
            return self._assembly.parameter(weight, self._weights[weight], buffer=is_buffer)
        if known is None:
            raise Refusal("a constant tensor")
        return known


def _refused(what: str, name: str, operation: str) -> ConfigError:
    return ConfigError(
        f"the model cannot be shared: {what} at the node {name!r} ({operation}) has no counterpart "
        "on shares; the operations that have one are listed in the train step's README"
    )


def _batch_norm(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, training: bool, *others: Any
) -> Found:
    if training:
        raise Refusal("a BatchNorm in training mode")
    return FUNCTIONS[functional.batch_norm](x, mean, var, weight, bias, False, *others[:2])


def _softmax(x: Any, dim: int, dtype: Any = None) -> Found:
    return FUNCTIONS[torch.softmax](x, dim)


def _clamp(x: Any, low: float | None = None, high: float | None = None) -> Found:
    if low is None or high is None:
        raise Refusal("a clamp at one side")
    return FUNCTIONS[functional.hardtanh](x, float(low), float(high))


def _same(x: Any, *_: Any, **__: Any) -> Found:
    return METHODS["contiguous"](x)


_OF_FUNCTIONAL = (
    *("linear", "conv1d", "conv2d", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d"),
    *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "relu6", "leaky_relu", "hardtanh", "silu"),
)
_OF_TORCH = ("relu", "sigmoid", "tanh", "add", "sub", "mul", "div", "cat", "mean")
_THE_SAME = (
    *("flatten", "view", "reshape", "squeeze", "unsqueeze", "contiguous", "clone"),
    *("alias", "detach", "dropout", "_unsafe_view"),
)
_OPERATIONS: Mapping[str, Callable[..., Found]] = {
    **{name: FUNCTIONS[getattr(functional, name)] for name in _OF_FUNCTIONAL},
    **{name: FUNCTIONS[getattr(torch, name)] for name in _OF_TORCH},
    **dict.fromkeys(_THE_SAME, _same),
    "batch_norm": _batch_norm,
    "clamp": _clamp,
    "softmax": _softmax,
}
_OPERATIONS = {**_OPERATIONS, **{f"{name}_": found for name, found in _OPERATIONS.items()}}
"""By the name in torch.ops.aten; what ends in an underscore writes in place, which is the same."""
