"""Turn a party's rows into secret shares on disk."""

from dataclasses import replace

from tallystick.encode import order, splitting
from tallystick.encode.config import Config
from tallystick.encode.intake import take_in
from tallystick.encode.joint import JointTable
from tallystick.encode.layout import HORIZONTAL, Holdings
from tallystick.encode.own import OwnRows
from tallystick.runtime import life
from tallystick.runtime.manifest import Manifest
from tallystick.runtime.session import Session
from tallystick.tables import shares, split
from tallystick.tables.split import Split

__all__ = ["Config", "run"]


@life.step("encode")
def run(config: Config) -> int:
    """Run this party's side of the step.

    Returns:
        The number of rows of the joint table.
    """
    aligned = None
    if config.aligned is not None:
        aligned = Manifest.read(config.aligned, "aligned")
        aligned.require_party(config.party)
    rows = take_in(config, aligned)
    drawn = _known_split(config, rows, aligned)
    with Session.join(config, "encode") as session:
        if aligned is not None:
            session.agree(aligned)
        holdings = Holdings.agree(
            session,
            rows,
            layout=config.layout,
            label=config.label,
            group=config.group,
            split_column=config.split_column,
            tell_classes=config.tell_classes or bool(config.label_classes),
        )
        coin = order.coin(session)
        row_order = (
            order.commitment(session, coin, () if config.layout == HORIZONTAL else rows.ids)
            if aligned is None
            else aligned.joint["row_order"]
        )
        if drawn is None:
            drawn = _settled_split(config, session, rows, holdings)
        if not rows.fitted_by:
            rows = replace(rows, fitted_by=f"{session.name}/{coin.hex()[:16]}")
        table = JointTable(config, session, rows, holdings, drawn)
        joint = {"row_order": row_order, **table.joint()}
        manifest = Manifest(
            kind=shares.KIND,
            session=session.name,
            party=session.party,
            rank=session.rank,
            parties=session.parties,
            joint=joint,
            history=session.history(aligned.history if aligned else ()),
        )
        session.agree(manifest)
        folder = session.output(config.shares)
        table.write(folder)
        manifest.write(folder)
        session.result(rows=joint["rows"], features=len(joint["columns"]), **drawn.counts())
    return int(joint["rows"])


def _known_split(config: Config, rows: OwnRows, aligned: Manifest | None) -> Split | None:
    """Return the split, and fit by it, where it follows from the seed before anybody is dialled."""
    if config.split_by != splitting.SEED or config.layout == HORIZONTAL:
        return None
    forms = aligned.joint.get("normalise", ()) if aligned is not None else ()
    drawn = splitting.known_to_all(
        rows, forms, config.seed, config.test_fraction, config.validation_fraction
    )
    rows.features.fit(drawn.train_rows)
    return drawn


def _settled_split(config: Config, session: Session, rows: OwnRows, holdings: Holdings) -> Split:
    is_horizontal = config.layout == HORIZONTAL
    if config.split_by == splitting.SEED:
        total = sum(holdings.rows.values())
        return split.by_number(total, config.seed, config.test_fraction, config.validation_fraction)
    return splitting.settle(
        session,
        rows,
        holdings,
        way=config.split_by,
        horizontal=is_horizontal,
        test=config.test_fraction,
        validation=config.validation_fraction,
    )
