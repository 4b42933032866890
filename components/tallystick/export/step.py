"""Open the model to the parties that the job names, and to nobody else."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tallystick import tracking
from tallystick.export import consent, files, preparations
from tallystick.models import artifact
from tallystick.models.artifact import SharedModel
from tallystick.models.finished import FinishedModel, shapes
from tallystick.models.linear import LINEAR_MODELS, WEIGHTS
from tallystick.runtime import events, life
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """What the export step is told."""

    trained: Path
    """The artifact of the train step."""
    export_to: tuple[str, ...]
    """The parties that learn the model; with none it stays shared."""
    agree_to_export: bool
    """Whether this party agrees that they do."""
    formats: tuple[str, ...] = ("state_dict", "safetensors", "onnx")
    """What is written where this party learns it."""
    register_as: str = ""
    """Its name in this party's MLflow registry; empty for none."""
    prepared: Path | None = None
    """This party's artifact of the encode step; None where nothing is told of it."""
    tell_preparation: bool = False
    """Whether those who learn a linear model may learn how this party prepared its columns."""
    exported: Path
    """Where the opened model is written."""

    MEMBERS = StepConfig.MEMBERS | {"export_to"}
    LOCAL = StepConfig.LOCAL | {
        *("agree_to_export", "formats", "register_as", "tell_preparation"),
    }

    def __post_init__(self) -> None:
        """Check what may be asked for."""
        StepConfig.__post_init__(self)
        self.require(
            set(self.formats) <= set(files.FORMATS), "formats", f"some of {list(files.FORMATS)}"
        )
        self.require(
            not self.register_as or "mlflow" in self.formats,
            "register_as",
            "empty unless formats has mlflow",
        )
        self.require(
            not set(self.register_as) & set("/:"), "register_as", "a name without '/' and ':'"
        )
        self.require(
            not self.tell_preparation or self.prepared is not None,
            "tell_preparation",
            "false unless prepared is given",
        )


@life.step("export")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of parties that learned the model.
    """
    model = artifact.read(config.trained)
    mine = None
    if config.tell_preparation:
        if WEIGHTS in model.parameters:
            mine = preparations.own(config.prepared, config.party, model)
        else:
            events.emit(
                "warning",
                message="tell_preparation: nothing is told, for "
                f"{model.name} is not one of {', '.join(LINEAR_MODELS)}",
            )
    with tracking.run(session=config.session, party=config.party, step="export") as log:
        with Session.join(config, "export") as session:
            session.agree(model.manifest)
            opened, prepared = None, {}
            receivers = tuple(name for name in session.parties if name in config.export_to)
            if receivers:
                consent.require(session, config.agree_to_export, receivers)
                opened = _open(session, model, receivers)
                if WEIGHTS in model.parameters:
                    prepared = dict(preparations.tell(session, model, mine, receivers))
            folder = session.output(config.exported)
            folder.mkdir(parents=True, exist_ok=True)
            if opened is not None:
                history = session.history(model.manifest.history)
                finished = FinishedModel.of(model, opened, history)
                files.write(folder, finished, config.formats, prepared)
            Manifest(
                kind="export",
                session=session.name,
                party=session.party,
                rank=session.rank,
                parties=session.parties,
                joint={**model.manifest.joint, "export_to": list(receivers)},
                history=session.history(model.manifest.history),
            ).write(folder)
            # What was opened is known, even if the parties do not finish together.
            log.json("reveals/export.json", session.ledger.as_json())
        # Nobody can take back a version of a registered model, so all have finished by now.
        if opened is not None and "mlflow" in config.formats:
            log.model(config.exported / files.MLFLOW, config.register_as)
    return len(receivers)


def _open(session: Session, model: SharedModel, receivers: tuple[str, ...]) -> Tensor | None:
    shares = [model.parameter(name).reshape(-1) for name in shapes(model)]
    return session.ledger.reveal(
        session.engine.from_share(torch.cat(shares)),
        "parameters of the model",
        why="the job names who gets it, and every party agreed",
        to=receivers,
    )
