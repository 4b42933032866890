"""The model that a step applies: one that is shared, or one that a single party owns.

What can be wrong with this party's part of it is said before anybody is dialled.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from tallystick.models import architectures, artifact, from_file, owned
from tallystick.models.artifact import SharedModel
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.session import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig(StepConfig, ABC):
    """What a step is told of the model that it applies."""

    model_owner: str = ""
    """The party that owns the model; empty for one that is shared."""
    model_file: str = ""
    """The model, at its owner; empty elsewhere."""
    architecture: str = ""
    """The network's name, where the file is a state_dict."""
    feature_shape: tuple[int, ...] = ()
    """Of one row, where a party owns the model."""

    MEMBERS = StepConfig.MEMBERS | {"model_owner"}
    LOCAL = StepConfig.LOCAL | {"model_file", "architecture"}

    def __post_init__(self) -> None:
        """Check that there is one model, and that its owner has it."""
        StepConfig.__post_init__(self)
        self.require(
            bool(self.share_folder) != bool(self.model_owner),
            "trained",
            "empty where model_owner is set, and the path of train's artifact where it is not",
        )
        is_mine = bool(self.model_owner) and self.party == self.model_owner
        self.require(
            bool(self.model_file) == is_mine,
            "model_file",
            "the path of the model" if is_mine else "empty at a party that does not own the model",
        )
        self.require(
            not self.architecture or architectures.known(self.architecture),
            "architecture",
            f"one of {', '.join(architectures.NAMES)}, or file.py:Class",
        )
        self.require(
            all(0 < size <= 1 << 20 for size in self.feature_shape)
            and bool(self.model_owner) >= bool(self.feature_shape),
            "feature_shape",
            "sizes of one row where model_owner is set, such as 3, 224, 224, and empty elsewhere",
        )

    @property
    @abstractmethod
    def share_folder(self) -> str:
        """Where this party's share of the model lies; empty where a party owns the model."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What this party has of the model before the parties meet."""

    shared: SharedModel | None
    """This party's share; None where one party owns the model."""
    network: owned.Network | None = None
    """The model that this party owns."""

    @classmethod
    def read(cls, config: ModelConfig, feature_shape: tuple[int, ...]) -> "Chosen":
        """Read this party's share of the model, or the model that it owns.

        Args:
            config: of the step.
            feature_shape: of one row, where a party owns the model.

        Raises:
            ConfigError: the file is no model, not that of the architecture, or of other classes.
            DataError: the model is missing, damaged or too large for fixed point.
        """
        if not config.model_owner:
            return cls(artifact.read(Path(config.share_folder)))
        if config.party != config.model_owner:
            return cls(None)
        network = from_file.read(Path(config.model_file), config.architecture, feature_shape)
        owned.require_classes(network[0])
        owned.require_small(network[1])
        return cls(None, network)

    def agreed(self, session: Session, owner: str, feature_shape: tuple[int, ...]) -> SharedModel:
        """Return this party's share: all parties hold shares of one model.

        Args:
            session: the joined session.
            owner: the party that owns the model; or empty.
            feature_shape: of one row, where a party owns the model.

        Raises:
            DataError: the parties' shares do not belong together.
        """
        if self.shared is None:
            return owned.share(session, owner, self.network, feature_shape)
        session.agree(self.shared.manifest)
        return self.shared
