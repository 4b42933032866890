"""What was done to the columns before training, told to those who learn a linear model.

Roles: the owners O of columns; the receivers R of the model.
Messages: all to all, whether they tell, and how many columns; if all owners do, each O to each R:
its ``preparation.json`` without the label's classes and groups, as JSON.
Rounds: 2 at most. Bytes: about 150 a column, and its categories.
Learnt: by each R, means, deviations, fillings, bounds and categories of the owners' columns; by the
others, that it does. Nothing unless every owner agrees in its own pipeline.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tallystick.models.artifact import SharedModel
from tallystick.runtime.errors import DataError, ProtocolViolation
from tallystick.runtime.frames import MAX_MESSAGE_BYTES
from tallystick.runtime.session import Session
from tallystick.tables.preparation import Preparation


def own(prepared: Path | None, party: str, model: SharedModel) -> Preparation | None:
    """Read what this party did to its columns of the model.

    Raises:
        DataError: it is of another model's columns.
    """
    if prepared is None:
        return None
    found = Preparation.read(prepared)
    model.require_prepared(found.fitted_by, "prepared")
    found = Preparation(transforms=found.transforms, fitted_by=found.fitted_by)
    if found.features != _features(model, party):
        raise DataError(
            "prepared does not hold the columns that the model was trained by; give the artifact "
            "of the encode step that came before its training"
        )
    if len(json.dumps(found.as_json())) > MAX_MESSAGE_BYTES // 2:
        raise DataError(
            "tell_preparation: the columns have too many categories to be told; let encode keep "
            "fewer of them"
        )
    return found


def tell(
    session: Session, model: SharedModel, mine: Preparation | None, receivers: Sequence[str]
) -> Mapping[str, Preparation]:
    """Bring the owners' preparations to the receivers.

    Args:
        session: the joined session.
        model: that was opened.
        mine: what this party did, if it tells.
        receivers: the parties that learn the model.

    Returns:
        by owner, in the order of the columns; empty unless all tell, and at who is no receiver.
    """
    answers = session.exchange({"columns": None if mine is None else len(mine.transforms)})
    told = (answer.get("columns") for answer in answers)
    counts: dict[str, Any] = dict(zip(session.parties, told, strict=True))
    owners = list(dict.fromkeys(column["owner"] for column in model.manifest.joint["columns"]))
    if any(type(counts[owner or session.party]) is not int for owner in owners):
        return {}
    if owners == [""]:  # all have prepared all columns alike, and know it
        return {"": mine} if mine is not None and session.party in receivers else {}
    for owner in owners:
        session.ledger.note(
            f"preparation of the columns of {owner}",
            count=counts[owner],
            to=receivers,
            why="every owner agreed to tell those who learn the model",
        )
        if owner == session.party:
            assert mine is not None
            for receiver in receivers:
                if receiver != owner:
                    session.mesh.post_message(receiver, {"preparation": mine.as_json()})
    if session.party not in receivers:
        return {}
    return {
        owner: mine
        if owner == session.party and mine is not None
        else _checked(session.mesh.message(owner), owner, model)
        for owner in owners
    }


def _checked(message: Any, owner: str, model: SharedModel) -> Preparation:
    try:
        found = Preparation.from_json(message["preparation"])
    except (KeyError, ValueError, TypeError, AttributeError):
        found = None
    fitted_by = model.manifest.joint["fitted_by"]
    if found is None or (found.features, found.fitted_by) != (_features(model, owner), fitted_by):
        raise ProtocolViolation(f"party {owner!r} did not tell how it prepared its columns")
    return found


def _features(model: SharedModel, party: str) -> tuple[str, ...]:
    columns = model.manifest.joint["columns"]
    return tuple(
        column["name"].removeprefix(f"{party}.")
        for column in columns
        if column["owner"] in ("", party)
    )
