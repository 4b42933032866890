"""Take in a party's rows and check what can be checked, before anybody is dialled."""

from pathlib import Path

from tallystick.encode import label as labels
from tallystick.encode import own, schema
from tallystick.encode.config import Config
from tallystick.encode.layout import HORIZONTAL
from tallystick.encode.own import Columns, OwnRows
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import image_files
from tallystick.tables.dialect import Dialect
from tallystick.tables.images import ImageRules, ImageSet
from tallystick.tables.preparation import Preparation
from tallystick.tables.rules import Rules
from tallystick.tables.spool import Spool
from tallystick.tables.streaming import Source

TABLE = "aligned.parquet"


def take_in(config: Config, aligned: Manifest | None) -> OwnRows:
    """Read and check this party's rows.

    Args:
        config: of the step.
        aligned: what psi says of the rows; None where they need no matching.

    Raises:
        ConfigError: the job asks for what does not go together, or for a column that is not there.
        DataError: the rows cannot be read, or not be used as they are.
    """
    rules = Rules.parse(config.preparation, standardise=config.standardise)
    image_rules = ImageRules.parse(config.images)
    prepared = Preparation.read(Path(config.prepared)) if config.prepared else None
    if aligned is not None:
        assert config.aligned is not None
        matched_by = aligned.joint.get("id_columns")
        if matched_by != list(config.id_columns):
            raise ConfigError(
                f"id_columns must be those of the psi step, {matched_by!r}, not "
                f"{list(config.id_columns)!r}: an id that is left over would be shared as a feature"
            )
        if aligned.joint.get("result", "all") != "all":
            raise DataError(
                "psi has given rows to one party alone, or to none; run it with result: all"
            )
        source = Source(config.aligned / TABLE, config.id_columns)
    elif image_files.holds_images(config.data):
        return _checked(config, _image_rows(config, image_rules, prepared))
    else:
        dialect = Dialect.parse(config.reading)
        source = Source(config.data, config.id_columns, dialect)
    spool = Spool.fill(source, config.shares.parent)
    if aligned is not None and spool.rows != aligned.joint.get("rows"):
        raise DataError(
            f"{TABLE} has not the number of rows that its manifest says; run the psi step again"
        )
    named = None
    if image_rules.column:
        if image_rules.column not in spool.schema.names:
            raise DataError(f"there is no column {image_rules.column!r}, which images.column names")
        named = own.Images(image_files.named_files(spool.column(image_rules.column), image_rules))
    rows = own.of_table(
        spool,
        rules=rules,
        id_columns=config.id_columns,
        label=config.label,
        label_kind=labels.kind_wanted(config.label_kind, config.model),
        label_classes=config.label_classes,
        group=config.group,
        split_column=config.split_column,
        prepared=prepared,
        images=named,
    )
    return _checked(config, rows)


def _image_rows(config: Config, rules: ImageRules, prepared: Preparation | None) -> OwnRows:
    """Read images, or labels that lie in a file of their own."""
    found = image_files.open_set(config.data, rules)
    values = found.labels if isinstance(found, ImageSet) else found
    kind = labels.kind_wanted(config.label_kind, config.model)
    features = own.Images(found) if isinstance(found, ImageSet) else own.Nothing(len(found))
    return OwnRows(
        features=features,
        label=labels.prepare(
            values, config.label, kind=kind, classes=config.label_classes, prepared=prepared
        )
        if values is not None
        else None,
        group=None,
        times_N=None,
        ids=(),
        fitted_by=prepared.fitted_by if prepared is not None else "",
    )


def _checked(config: Config, rows: OwnRows) -> OwnRows:
    """Check what depends on the layout."""
    if config.layout == HORIZONTAL:
        if config.group:
            raise ConfigError("group is not to be had with layout: horizontal yet; leave it out")
        if config.prepared:
            return rows
        if rows.label is not None and rows.label.classes and not config.label_classes:
            raise ConfigError(
                "with layout: horizontal every party has labels of its own; list the classes in "
                "label_classes, the same at every party"
            )
        if isinstance(rows.features, Columns):
            schema.require_summable(rows.features)
    return rows
