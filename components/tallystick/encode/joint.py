"""The joint table: fitted, described in the manifest, and shared, as the layout asks for."""

# T = training rows of this party.

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallystick.encode import horizontal, schema, sharing, sums
from tallystick.encode import label as labels
from tallystick.encode.config import Config
from tallystick.encode.layout import HORIZONTAL, Holdings, Layout, refused_together
from tallystick.encode.own import Columns, OwnRows
from tallystick.runtime.engine import PRECISION_BITS
from tallystick.runtime.errors import DataError
from tallystick.runtime.session import Session
from tallystick.tables.split import Split


class JointTable:
    """All parties' rows and columns, of which this party knows its own.

    Args:
        config: of the step.
        session: the joined session.
        rows: this party's.
        holdings: who holds what.
        drawn: which rows train, validate and test.

    Raises:
        ConfigError: the parties' columns do not go together; at every party.
        DataError: a column does not allow what is wanted.
    """

    def __init__(
        self, config: Config, session: Session, rows: OwnRows, holdings: Holdings, drawn: Split
    ) -> None:
        self._config, self._session, self._holdings, self._drawn = config, session, holdings, drawn
        self._is_horizontal = config.layout == HORIZONTAL
        mine = self._mine()
        train_rows = Split(drawn.part_N[mine]).train_rows
        self._layout: Layout | None = None
        if self._is_horizontal:
            self._fit_together(rows, train_rows)
            self._shape = rows.features.shape
            self._columns = [{"name": name, "owner": ""} for name in rows.features.names]
            self._as_they_are = rows.prepared().changes_nothing
        else:
            rows.features.fit(train_rows)
            self._layout = Layout.agree(
                session,
                rows.features.names,
                rows.features.shape,
                as_they_are=rows.prepared().changes_nothing,
            )
            self._shape = self._layout.shape
            self._columns = self._layout.columns()
            self._as_they_are = self._layout.as_they_are
        self._rows = self._with_units(rows, train_rows)

    def joint(self) -> dict[str, Any]:
        """Return what the manifest says at every party."""
        config, holdings = self._config, self._holdings
        return {
            "rows": sum(holdings.rows.values()) if self._is_horizontal else self._rows.rows,
            "layout": config.layout,
            "row_ranges": self._ranges(),
            "columns": self._columns,
            "feature_shape": list(self._shape),
            "label": self._label,
            "group": {
                "name": config.group,
                "owner": holdings.group_owner,
                "groups": holdings.groups,
            }
            if holdings.groups
            else None,
            "precision_bits": PRECISION_BITS,
            "split": {
                "by": config.split_by,
                "seed": config.seed,
                "test_fraction": config.test_fraction,
                "validation_fraction": config.validation_fraction,
                **self._drawn.counts(),
                "digest": self._drawn.digest(),
            },
            "standardised": config.standardise,
            "prepared": bool(config.prepared),
            "fitted_by": self._rows.fitted_by,
            "as_they_are": self._as_they_are,
        }

    def write(self, folder: Path) -> None:
        """Share, and write everything but the manifest."""
        session, holdings, rows = self._session, self._holdings, self._rows
        if self._layout is None:
            sharing.share_rows(session, self._shape, holdings, rows, folder)
        else:
            sharing.share_columns(session, self._layout, holdings, rows, folder)
        self._drawn.write(folder)
        rows.prepared().write(folder)

    def _mine(self) -> slice:
        """Return where this party's rows stand in the joint table."""
        if not self._is_horizontal:
            return slice(None)
        counts = self._holdings.rows
        first = sum(counts[party] for party in self._session.parties[: self._session.rank])
        return slice(first, first + counts[self._session.party])

    def _ranges(self) -> list[dict[str, Any]]:
        """Return which rows are whose, where parties hold different rows."""
        if not self._is_horizontal:
            return []
        first, found = 0, []
        for party, count in self._holdings.rows.items():
            found.append({"owner": party, "first": first, "rows": count})
            first += count
        return found

    def _fit_together(self, rows: OwnRows, train_rows: NDArray[np.int64]) -> None:
        features = rows.features
        total = self._drawn.counts()["train_rows"]
        if isinstance(features, Columns):
            schema.agree_columns(self._session, features)
            if self._config.prepared:
                return
            horizontal.fit(self._session, features, train_rows, total)
            return
        answers = self._session.exchange({"shape": list(features.shape)})
        with refused_together(self._session):
            if any(answer.get("shape") != list(features.shape) for answer in answers):
                raise DataError(
                    "the parties' images are not of one shape; give images.size and images.colour"
                )

    def _with_units(self, rows: OwnRows, train_rows: NDArray[np.int64]) -> OwnRows:
        """Standardise a number to learn, and note what the manifest says of the label."""
        config, holdings = self._config, self._holdings
        told = {key: value for key, value in holdings.label.items() if key != "names"}
        if names := holdings.label.get("names"):
            told["names"] = names
            self._session.ledger.note(
                "names of the label's classes",
                count=len(names),
                why="the job says that all parties may know them",
            )
        self._label = {"name": config.label, "owner": holdings.label_owner, **told}
        if holdings.label["kind"] != labels.NUMBER:
            return rows
        label, units = rows.label, {"mean": 0.0, "deviation": 1.0}
        why = "errors are reported in the label's own units"
        if config.prepared and self._is_horizontal:
            assert label is not None
            units = {"mean": label.mean, "deviation": label.deviation}
        elif config.standardise and self._is_horizontal:
            assert label is not None
            total = self._drawn.counts()["train_rows"]
            values_T = label.values_N[train_rows]
            mean, deviation = sums.standard(self._session, values_T, total, "the label", why)
            units = {"mean": mean, "deviation": deviation}
            values_N = (label.values_N - mean) / deviation
            label = replace(label, values_N=values_N, mean=mean, deviation=deviation)
        elif config.standardise or config.prepared:
            if label is not None and not config.prepared:
                label = label.standardised(config.label, train_rows)
            units = sharing.publish_label_units(self._session, holdings.label_owner, label, why)
        if label is not None:
            label.require_small(config.label)
        self._label |= units
        return replace(rows, label=label)
