"""A model's architecture by its name, or from the user's own code; and its initial weights.

The user's own is ``package.module:Class`` or ``path/to/file.py:Class``. The class is called without
arguments. Only the architecture is used, and the weights that the module begins with, drawn from
the agreed public seed; its code runs at each party before anybody is dialled.
"""

import importlib
import importlib.util
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from tallystick.models.from_torch import convert, told
from tallystick.models.graph import Graph
from tallystick.models.linear import LINEAR_MODELS
from tallystick.models.networks import NETWORKS
from tallystick.runtime.errors import ConfigError

NAMES = (*LINEAR_MODELS, *NETWORKS)
_OWN = re.compile(r"(?P<place>.+):(?P<kind>[^\W\d]\w*)")


def is_own(name: str) -> bool:
    """Say whether a model's name is of a user's own class."""
    return _OWN.fullmatch(name) is not None


def known(name: str) -> bool:
    """Say whether a model's name is one of ours, or of the form of a user's own class."""
    return name in NAMES or is_own(name)


def short(name: str) -> str:
    """Return a model's name without a folder, which differs from party to party."""
    return re.sub(r"^.*[/\\]", "", name) if is_own(name) else name


def build(
    name: str, feature_shape: tuple[int, ...], outputs: int | None, seed: int
) -> tuple[Graph, dict[str, Tensor]]:
    """Return a network's graph and its initial parameters, float64.

    Args:
        name: one of ``NETWORKS``, or a user's own class.
        feature_shape: of one row.
        outputs: scores of one row that the label needs; None for a user's own class if any will do.
        seed: agreed and public; the same seed gives the same weights.

    Raises:
        ConfigError: no such class, one that fails, cannot be converted, or gives other scores.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = NETWORKS[name](feature_shape, outputs or 1) if name in NETWORKS else _own(name)
    graph, parameters = convert(module, feature_shape)
    if outputs is None:
        return graph, parameters
    if graph.outputs != outputs:
        raise ConfigError(
            f"the model {short(name)} gives {graph.outputs} scores for each row, and the label "
            f"needs {outputs}: one for each class, or a single one for two classes or a number"
        )
    if not graph.parameters:
        raise ConfigError(f"the model {short(name)} has no parameter that could be trained")
    return graph, parameters


def _own(name: str) -> nn.Module:
    found = _OWN.fullmatch(name)
    assert found is not None
    place, kind = found["place"], found["kind"]
    try:
        source = _file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        module = getattr(source, kind)()
    except Exception as error:  # the user's own code runs here
        raise ConfigError(
            f"the model {short(name)} cannot be made ({told(error)}); it must be a class that "
            "every party has, and that needs no argument"
        ) from None
    if not isinstance(module, nn.Module):
        raise ConfigError(f"the model {short(name)} is no torch.nn.Module")
    return module


def _file(path: Path) -> object:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no Python file at {path.name}")
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    return source
