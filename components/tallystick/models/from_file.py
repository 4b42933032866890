"""A model that one party owns, from its file: which formats there are, and how each is read.

===================  ====================================  ==========================
file                 what it is                            the architecture
===================  ====================================  ==========================
.onnx                ONNX                                  in the file
.pt2                 torch.export.save                     in the file
.safetensors         a state_dict                          by name, or a class
.pt, .pth, .bin      a state_dict, by torch.save           by name, or a class
===================  ====================================  ==========================

Nothing in a file is executed: a pickle may hold tensors and nothing else.
"""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from tallystick.models import architectures, folding
from tallystick.models.graph import Graph
from tallystick.runtime.addresses import name_of
from tallystick.runtime.errors import ConfigError, DataError

Shape = tuple[int, ...]
STATE_DICTS = (".safetensors", ".pt", ".pth", ".bin")
FORMATS = (".onnx", ".pt2", *STATE_DICTS)


def read(path: Path, architecture: str, feature_shape: Shape) -> tuple[Graph, dict[str, Tensor]]:
    """Read a model, ready to be shared: its normalisations are folded into the weights.

    Args:
        path: the file.
        architecture: a network's name or the user's own class, for a state_dict; or empty.
        feature_shape: of one row.

    Returns:
        The graph, and its parameters, float64.

    Raises:
        ConfigError: the architecture is missing or does not fit, or cannot be done on shares.
        DataError: the file is missing, damaged, or holds code.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(
            f"{name_of(path)}: a model is read from {', '.join(FORMATS)}; save it as one of these"
        )
    if not path.is_file():
        raise DataError(f"there is no model file {name_of(path)!r}; check the path")
    if (suffix in STATE_DICTS) != bool(architecture):
        raise ConfigError(
            f"{path.name}: architecture must "
            + ("name the network whose weights it holds" if not architecture else "be empty")
            + f" for a {suffix} file"
        )
    graph, parameters = _read(path, suffix, architecture, feature_shape)
    for name, value in parameters.items():
        if not bool(torch.isfinite(value).all()):
            raise DataError(f"{path.name}: the parameter {name!r} holds NaN or infinity")
    return folding.fold(graph, parameters)


def _read(
    path: Path, suffix: str, architecture: str, feature_shape: Shape
) -> tuple[Graph, dict[str, Tensor]]:
    if suffix == ".onnx":
        from tallystick.models import from_onnx

        return from_onnx.read(path, feature_shape)
    if suffix == ".pt2":
        from tallystick.models import from_export

        return from_export.read(path, feature_shape)
    state = _safetensors(path) if suffix == ".safetensors" else _state_dict(path)
    outputs = None
    if not architectures.is_own(architecture):
        outputs = _outputs(path, architecture, feature_shape, state)
    graph, parameters = architectures.build(architecture, feature_shape, outputs, seed=0)
    return graph, _matched(path, architecture, graph, parameters, state)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        found: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError):
        raise DataError(f"{path.name} cannot be read as safetensors; save it again") from None
    return found


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that it is about to refuse
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise DataError(
            f"{path.name} is a pickle with more in it than tensors, and reading it could run code: "
            "it is refused; save the model's state_dict, best as safetensors"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path.name} cannot be read as a state_dict; save it by torch.save(model.state_dict())"
        ) from None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise DataError(
            f"{path.name} holds something else than a state_dict of tensors; save "
            "model.state_dict() alone"
        )
    return state


def _outputs(
    path: Path, architecture: str, feature_shape: Shape, state: Mapping[str, Tensor]
) -> int:
    """Return how many scores the network's last layer has weights for."""
    graph, _ = architectures.build(architecture, feature_shape, 2, seed=0)
    last = [node.parameters["weight"] for node in graph.nodes if "weight" in node.parameters][-1]
    if last not in state or not len(state[last]):
        raise ConfigError(
            f"{path.name} does not hold the weights of {architecture}: {last} is missing"
        )
    return len(state[last])


def _matched(
    path: Path,
    architecture: str,
    graph: Graph,
    parameters: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Return the state's values for the graph's parameters.

    Raises:
        ConfigError: names or shapes are not those of the architecture.
    """
    extra = {
        name for name in state if not name.endswith("num_batches_tracked")
    } - graph.shapes.keys()
    missing = graph.shapes.keys() - state.keys()
    differing = [
        f"{name} has the shape {list(state[name].shape)} and not {list(parameters[name].shape)}"
        for name in graph.shapes
        if name in state and state[name].shape != parameters[name].shape
    ]
    problems = [
        *([f"{', '.join(sorted(missing))} missing"] if missing else []),
        *([f"{', '.join(sorted(extra))} unknown"] if extra else []),
        *differing,
    ]
    if problems:
        raise ConfigError(
            f"{path.name} does not hold the weights of {architectures.short(architecture)}: "
            f"{'; '.join(problems[:5])}"
        )
    return {name: state[name].double() for name in graph.shapes}
