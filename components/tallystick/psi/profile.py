"""What a party is told of its own ids, and nobody else."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.runtime import events

NAME = "id_profile.json"
MOST_SHOWN = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """Counts, and what the ids look like."""

    rows: int
    distinct: int
    """How many different ids there are."""
    duplicates: int
    """How many rows repeat the id of an earlier one."""
    empty: dict[str, int]
    """How many values of each id column are null or empty."""
    shapes: Counter[str]
    """How often each shape occurs in a sample."""

    def commonest(self, most: int = MOST_SHOWN) -> dict[str, float]:
        """Return the commonest shapes, and the part of the sample that has each."""
        total = max(self.shapes.total(), 1)
        return {name: round(count / total, 4) for name, count in self.shapes.most_common(most)}

    def as_json(self) -> dict[str, Any]:
        """Return what the owner is shown."""
        return {
            "rows": self.rows,
            "distinct": self.distinct,
            "duplicates": self.duplicates,
            "empty": self.empty,
            "shapes": self.commonest(),
            "shapes_from_rows": self.shapes.total(),
        }

    def show(self) -> None:
        """Put it into this party's own log."""
        events.emit("profile", **self.as_json())

    def write(self, folder: Path) -> None:
        """Put it into this party's own artifact."""
        (folder / NAME).write_text(json.dumps(self.as_json(), indent=2) + "\n")
