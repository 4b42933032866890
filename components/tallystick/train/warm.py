"""A model to begin with: one that an earlier session left shared, and that nobody has seen.

What it was trained on may be other rows; what it is must be what is trained now. Its parameters
stay shared, and nothing about them is told.
"""

from pathlib import Path
from typing import Any

from tallystick.models import architectures, artifact
from tallystick.models.artifact import SharedModel
from tallystick.models.graph import Graph
from tallystick.runtime.errors import ConfigError
from tallystick.tables import shares
from tallystick.train.configuration import Config


def read(config: Config, data: shares.Shares, graph: Graph | None) -> SharedModel | None:
    """Read this party's share of the model to begin with; None to begin anew.

    Args:
        config: the step's configuration.
        data: the training rows.
        graph: the architecture; None for a linear model.

    Raises:
        ConfigError: it is another model than the one to be trained; says in what.
        DataError: it cannot be read.
    """
    if not config.warm_start:
        return None
    found = artifact.read(Path(config.warm_start))
    now = {
        "model": architectures.short(config.model),
        "architecture": None if graph is None else graph.as_json(),
        "columns": _columns(data.manifest.joint),
        "label": _label(data.manifest.joint),
    }
    known = found.manifest.joint
    then = {**known, "columns": _columns(known), "label": _label(known)}
    differing = [name for name, value in now.items() if then.get(name) != value]
    if differing:
        raise ConfigError(
            f"warm_start: the model of session {found.manifest.session!r} cannot be trained on, "
            f"since {', '.join(differing)} differs from what is trained now; encode the new rows "
            "into the same columns and name the same model, or begin anew"
        )
    return found


def _columns(joint: dict[str, Any]) -> list[tuple[str, str]]:
    return [(column["name"], column["owner"]) for column in joint["columns"]]


def _label(joint: dict[str, Any]) -> list[Any]:
    return [joint["label"].get(name) for name in ("name", "kind", "classes", "names")]
