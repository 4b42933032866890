"""What is asked of which model: what predict and serve are told and read alike."""

from dataclasses import dataclass
from pathlib import Path

from tallystick.models.artifact import SharedModel
from tallystick.models.chosen import Chosen, ModelConfig
from tallystick.predict import answers
from tallystick.predict.rows import Brought
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables.preparation import Preparation


@dataclass(frozen=True, kw_only=True, slots=True)
class Question(ModelConfig):
    """Which model, what it is to say, and to whom."""

    receiver: str
    """The party that learns the predictions."""
    output: str = "class"
    """class, probability or score."""
    trained: str = ""
    """This party's artifact of the train step; empty where a party owns the model."""
    prepared: str = ""
    """This party's artifact of the encode step; empty if its rows need no preparation."""
    class_names: str = ""
    """A text file at the receiver: the classes' names, one a line; or empty."""
    id_columns: tuple[str, ...] = ()
    """The columns that name a row."""
    aligned: Path | None = None
    """The artifact of the psi step; None where rows need no matching."""

    MEMBERS = ModelConfig.MEMBERS | {"receiver"}
    LOCAL = ModelConfig.LOCAL | {"trained", "prepared", "class_names"}

    def __post_init__(self) -> None:
        """Check ranges."""
        ModelConfig.__post_init__(self)
        self.require(self.output in answers.OUTPUTS, "output", f"one of {answers.OUTPUTS}")
        self.require(
            bool(self.feature_shape) == bool(self.model_owner),
            "feature_shape",
            "sizes of one row where model_owner is set, such as 3, 224, 224",
        )

    @property
    def share_folder(self) -> str:
        """Where this party's share of the model lies."""
        return self.trained


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What this party has read of the model before it meets the others."""

    config: Question
    chosen: Chosen
    names: tuple[str, ...]
    """Of the classes, as the receiver calls them, or else as the model does; or empty."""

    def model(self, session: Session) -> SharedModel:
        """Return this party's share: all parties hold shares of one model."""
        config = self.config
        return self.chosen.agreed(session, config.model_owner, config.feature_shape)

    def shape(self, model: SharedModel | None) -> tuple[int, ...]:
        """Return the shape of one row, by the job or else by what is known of the model."""
        if model is None or self.config.feature_shape:
            return self.config.feature_shape
        return tuple(map(int, model.manifest.joint["feature_shape"]))

    def require_fit(self, rows: Brought) -> None:
        """Refuse rows that cannot fit the model, as far as one party can tell.

        Raises:
            DataError: they have another shape, other columns, or no preparation.
        """
        config = self.config
        if self.chosen.shared is None:
            wanted = config.feature_shape
            fits = rows.shape == wanted or (len(rows.shape) == len(wanted) == 1)
            if not fits:
                raise DataError(
                    f"the rows have the shape {list(rows.shape)}, and the model takes "
                    f"{list(wanted)}; bring them to that shape"
                )
            return
        joint = self.chosen.shared.manifest.joint
        columns = joint["columns"]
        mine = f"{config.party}."
        own = [c["name"].removeprefix(mine) for c in columns if c["owner"] in ("", config.party)]
        if own and rows.names and list(rows.names) != own:
            raise DataError(
                f"the rows have not the columns that the model was trained by, {', '.join(own)}; "
                "give the preparation of the training, or the same columns"
            )
        if own and not config.prepared and not joint.get("as_they_are"):
            raise DataError(
                "the model was trained on prepared columns, and prepared is empty: these rows "
                "would reach it as they are; give this party's folder prepared (or shares) of the "
                "run that trained it"
            )

    def class_names(self, model: SharedModel) -> tuple[str, ...]:
        """Return what the classes are called; empty for their numbers.

        Raises:
            DataError: there are names for another number of classes.
        """
        names, label = self.names, model.manifest.joint["label"]
        classes = 2 if label["kind"] == "binary" else label.get("classes", 0)
        if names and len(names) != classes:
            raise DataError(
                f"class_names holds {len(names)} names, and the model has {classes} classes"
            )
        return names


def read(config: Question) -> Asked:
    """Read what this party has of the model.

    Raises:
        ConfigError: the model has no such output.
        DataError: a file cannot be read, or the model was trained on rows prepared otherwise.
    """
    chosen = Chosen.read(config, config.feature_shape)
    if chosen.shared is not None:
        answers.require_fit(config.output, chosen.shared.manifest.joint)
        if config.prepared:
            fitted_by = Preparation.read(Path(config.prepared)).fitted_by
            chosen.shared.require_prepared(fitted_by, "prepared")
    return Asked(config=config, chosen=chosen, names=_class_names(config, chosen.shared))


def aligned(config: Question) -> Manifest | None:
    """Read what psi says of the rows; None where they need no matching.

    Raises:
        ConfigError: they were matched by other columns than are said to name them.
        DataError: psi gave them to one party alone.
    """
    if config.aligned is None:
        return None
    found = Manifest.read(config.aligned, "aligned")
    if found.joint.get("id_columns") != list(config.id_columns):
        raise ConfigError(
            f"id_columns must be those of the psi step, {found.joint.get('id_columns')!r}, not "
            f"{list(config.id_columns)!r}"
        )
    if found.joint.get("result", "all") != "all":
        raise DataError(
            "psi has given rows to one party alone, or to none; run it with result: all"
        )
    return found


def _class_names(config: Question, model: SharedModel | None) -> tuple[str, ...]:
    """Return what the classes are called; empty for their numbers.

    Raises:
        DataError: two are called the same.
    """
    names = _receivers_names(config)
    if not names and model is not None:
        names = tuple(map(str, model.manifest.joint["label"].get("names") or ()))
    if len(set(names)) < len(names):
        raise DataError(
            "class_names: two classes have the same name, and their predictions could not be told "
            "apart; give each a name of its own"
        )
    return names


def _receivers_names(config: Question) -> tuple[str, ...]:
    """Return the names that this party has for the classes."""
    if config.class_names:
        try:
            lines = Path(config.class_names).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            raise DataError("class_names: the file cannot be read as lines of text") from None
        return tuple(lines)
    if config.prepared:
        return tuple(map(str, Preparation.read(Path(config.prepared)).label_classes))
    return ()
