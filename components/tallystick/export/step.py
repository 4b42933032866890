"""Open the model to the parties that the job names, and to nobody else."""

from dataclasses import dataclass
from pathlib import Path

from tallystick import tracking
from tallystick.export import files
from tallystick.models import artifact
from tallystick.models.linear import WEIGHTS
from tallystick.runtime import life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.consortium import Consortium
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the export step is told."""

    trained: Path
    """The artifact of the train step."""
    export_to: tuple[str, ...]
    """The parties that learn the model; with none it stays shared."""
    exported: Path
    """Where the opened model is written."""


@life.step("export")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of parties that learned the model.
    """
    model = artifact.read(config.trained)
    receivers = _receivers(config)
    with (
        tracking.run(session=config.session, party=config.party, step="export") as log,
        Session.join(config, "export") as session,
    ):
        session.agree(model.manifest)
        opened = None
        if receivers:
            weights = session.engine.from_share(model.parameter(WEIGHTS))
            opened = session.ledger.reveal(
                weights, "parameters of the model", why="the job names who gets it", to=receivers
            )
        folder = session.output(config.exported)
        folder.mkdir(parents=True, exist_ok=True)
        if opened is not None:
            files.write_linear(folder, model, opened)
        Manifest(
            kind="export",
            session=session.name,
            party=session.party,
            rank=session.rank,
            parties=session.parties,
            joint={**model.manifest.joint, "export_to": list(receivers)},
            history=session.history(model.manifest.history),
        ).write(folder)
        log.json("reveals/export.json", session.ledger.as_json())
    return len(receivers)


def _receivers(config: Config) -> tuple[str, ...]:
    """Return the receivers in rank order.

    Raises:
        ConfigError: somebody is named who is no party.
    """
    names = Consortium.load(config.consortium).names
    unknown = sorted(set(config.export_to) - set(names))
    if unknown:
        raise ConfigError(
            f"export_to names {', '.join(unknown)}, but the parties are {', '.join(names)}"
        )
    return tuple(name for name in names if name in config.export_to)
