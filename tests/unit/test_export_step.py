"""What export refuses before dialling."""

from pathlib import Path
from typing import Any

import pytest
from tallystick.export import step
from tallystick.runtime.errors import ConfigError


def config(**changes: Any) -> step.Config:
    fields = dict.fromkeys(("trained", "exported", "reveals", "identity", "consortium"), Path("x"))
    base = {"party": "a", "session": "s", "export_to": ("a",), "agree_to_export": True}
    return step.Config(**{**base, **fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"formats": ("pickle",)},
        {"register_as": "credit"},
        {"register_as": "bank/credit", "formats": ("mlflow",)},
        {"register_as": "credit:1", "formats": ("mlflow",)},
        {"tell_preparation": True},
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any]) -> None:
    config(register_as="bob's model", formats=("mlflow",))
    with pytest.raises(ConfigError, match=next(iter(changes))):
        config(**changes)
