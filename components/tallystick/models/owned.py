"""A model that one party owns becomes a shared one.

Roles: the owner O; all parties P0..Pn-1.
Messages: O to all, once: the architecture, as JSON. The weights need none: P_i's share
of a weight w is one of nought, drawn from streams that it shares with each other party, and O adds
w to its own (see ``Engine.share_ring``).
Rounds: 1. Bytes: those of the architecture, some 200 for each operation.
Learnt: by all, the architecture: kinds, order and sizes of the layers, and every setting but the
weights. By nobody: a weight. Normalisations were folded into the weights before, so their
statistics are not to be seen either.
"""

from torch import Tensor

from tallystick.models import artifact
from tallystick.models.artifact import SharedModel
from tallystick.models.graph import INPUT, Graph
from tallystick.models.operations import OPERATIONS
from tallystick.runtime.engine import MAX_MAGNITUDE
from tallystick.runtime.errors import ConfigError, DataError, ProtocolViolation
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.progress import Progress
from tallystick.runtime.session import Session

Network = tuple[Graph, dict[str, Tensor]]


def require_small(parameters: dict[str, Tensor]) -> None:
    """Refuse weights for which fixed point has no room.

    Raises:
        DataError: naming the parameter.
    """
    for name, value in parameters.items():
        if value.numel() and float(value.abs().max()) >= MAX_MAGNITUDE:
            raise DataError(
                f"the parameter {name!r} of the model holds a number of magnitude 2**20 or more, "
                "for which fixed point has no room"
            )


def require_classes(graph: Graph) -> None:
    """Refuse a model whose last function is another than that of its answers.

    Raises:
        ConfigError: naming the function.
    """
    wanted = "softmax" if graph.outputs > 1 else "sigmoid"
    if graph.final not in ("", wanted):
        raise ConfigError(
            f"the model gives {graph.outputs} scores for a row and ends with a {graph.final}; its "
            f"probabilities would be found by a {wanted}, and be others: save it without the last "
            "function if its scores are meant so"
        )


def share(
    session: Session, owner: str, network: Network | None, feature_shape: tuple[int, ...]
) -> SharedModel:
    """Share the owner's model.

    Args:
        session: the joined session.
        owner: the party that owns it.
        network: the model, at its owner; None elsewhere.
        feature_shape: of one row.

    Raises:
        ProtocolViolation: the owner sent something that is no architecture.
    """
    rank = session.parties.index(owner)
    told = {} if network is None else {"architecture": network[0].as_json()}
    graph = _checked(session.exchange(told)[rank].get("architecture"), owner, feature_shape)
    session.ledger.note(
        "architecture of the model",
        count=len(graph.nodes),
        why="all parties compute with it; its weights stay shared",
    )
    parameters = {}
    progress = Progress("weights shared", len(graph.shapes))
    for name, shape in graph.shapes.items():
        own = None if network is None else network[1][name]
        parameters[name] = session.engine.share(own, rank, shape).share
        progress.add(1)
    joint = {
        "model": f"{owner}'s",
        "architecture": graph.as_json(),
        "label": {"kind": "classes" if graph.outputs > 1 else "binary", "classes": graph.outputs},
    }
    manifest = Manifest(
        kind=artifact.KIND,
        session=session.name,
        party=session.party,
        rank=session.rank,
        parties=session.parties,
        joint=joint,
    )
    return SharedModel(manifest=manifest, parameters=parameters)


def _checked(told: object, owner: str, feature_shape: tuple[int, ...]) -> Graph:
    try:
        graph = Graph.from_json(told)
        if any(node.op not in OPERATIONS for node in graph.nodes if node.op != INPUT):
            raise DataError("an operation that is not known")
    except DataError:
        raise ProtocolViolation(
            f"party {owner!r} did not send its model's architecture in the agreed form; check that "
            "it runs the same version of tallystick"
        ) from None
    if graph.feature_shape != feature_shape:
        raise ConfigError(
            f"the model takes rows of the shape {list(graph.feature_shape)}, and feature_shape is "
            f"{list(feature_shape)}; they must be the same"
        )
    return graph
