"""Every party's own say: a model is opened when all agree, and to whom all have named."""

import contextlib

from tallystick.runtime.errors import ConfigError, PeerError
from tallystick.runtime.session import Session


def require(session: Session, agrees: bool, receivers: tuple[str, ...]) -> None:
    """Refuse the export unless every party agreed in its own pipeline.

    Args:
        session: the joined session.
        agrees: what this party says.
        receivers: the parties that would learn the model; the same at all, as for every step.

    Raises:
        ConfigError: naming who did not agree; it is raised at every party.
    """
    answers = session.exchange({"agrees": agrees})
    against = [
        party
        for party, answer in zip(session.parties, answers, strict=True)
        if answer.get("agrees") is not True
    ]
    if not against:
        return
    # Every party finds the same. Once all have heard from each other again, none is blamed by
    # another for having stopped first.
    with contextlib.suppress(PeerError):
        session.exchange({"export": "refused"})
    raise ConfigError(
        f"the model is not opened to {', '.join(receivers)}: {' and '.join(map(repr, against))} "
        "did not agree; ask whether agree_to_export may be true there, or leave export_to empty"
    )
