"""From a component's arguments to a checked configuration."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tallystick.runtime.configuration import StepConfig
from tallystick.runtime.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config(StepConfig):
    """A step with a field of each kind."""

    epochs: int
    rate: float = 0.5
    standardise: bool = True
    model: str = "linear"
    columns: tuple[str, ...] = ()
    data: Path = Path("data.csv")
    metrics: object = None
    own_label: str = ""
    rules: dict[str, Any] = dataclasses.field(default_factory=dict)
    aligned: Path | None = None

    LOCAL: ClassVar[frozenset[str]] = StepConfig.LOCAL | {"own_label"}


class Artifact:
    """What KFP hands over for an input or output."""

    def __init__(self, path: str) -> None:
        self.path = path


def arguments(**changes: Any) -> dict[str, Any]:
    fields = {
        "party": "alice",
        "session": "credit-1",
        "consortium": "/c.yaml",
        "identity": "/identity",
        "reveals": Artifact("/out/reveals"),
        "epochs": 3.0,
        "something_else": 1,
    }
    return {name: v for name, v in {**fields, **changes}.items() if v is not ...}


def test_a_tasks_arguments_become_what_is_declared() -> None:
    metrics = Artifact("/m")
    config = Config.from_task(
        arguments(rate=1, columns=["a", "b"], data=Artifact("/d.csv"), metrics=metrics)
    )
    assert config.epochs == 3
    assert isinstance(config.epochs, int)
    assert isinstance(config.rate, float)
    assert config.columns == ("a", "b")
    assert config.data == Path("/d.csv")
    assert config.reveals == Path("/out/reveals")
    assert config.metrics is metrics
    assert config.join_timeout_s == 300
    assert (config.rules, config.aligned) == ({}, None)


def test_a_mapping_an_absent_artifact_and_a_path_as_text_are_taken() -> None:
    given = {"rules": {"drop": ["a"]}, "aligned": Artifact("/a"), "model": Path("/m.py")}
    config = Config.from_task(arguments(**given))
    assert config.rules == {"drop": ["a"]}
    assert config.aligned == Path("/a")
    assert config.model == "/m.py"
    assert Config.from_task(arguments(aligned=None)).aligned is None


def test_what_the_parties_compare_holds_no_path_and_nothing_of_ones_own() -> None:
    config = Config.from_task(arguments(columns=["a"], own_label="mine", join_timeout_s=7))
    assert config.joint() == {
        "session": "credit-1",
        "epochs": 3,
        "rate": 0.5,
        "standardise": True,
        "model": "linear",
        "columns": ["a"],
    }


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": ...}, "the parameter 'epochs' is missing"),
        ({"party": ...}, "the parameter 'party' is missing"),
        ({"epochs": 3.5}, "epochs must be a whole number, not 3.5"),
        ({"epochs": float("nan")}, "epochs must be a whole number"),
        ({"epochs": float("inf")}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a int, not True"),
        ({"epochs": "3"}, "epochs must be a int, not '3'"),
        ({"epochs": None}, "epochs must be a int, not None"),
        ({"rate": "fast"}, "rate must be a float"),
        ({"rate": True}, "rate must be a float"),
        ({"standardise": 1}, "standardise must be a bool"),
        ({"standardise": "no"}, "standardise must be a bool"),
        ({"model": 3}, "model must be a str"),
        ({"columns": "abc"}, "columns must be a"),
        ({"columns": ["a", 1]}, "an entry of columns must be a str"),
        ({"data": 7}, "data must be a path"),
        ({"data": ""}, "data must be a path"),
        ({"rules": ["a"]}, "rules must be a"),
        ({"aligned": 3}, "aligned must be a path"),
        ({"party": ""}, "party must be 1 to 100 letters"),
        ({"party": "a/b"}, "party must be 1 to 100 letters"),
        ({"session": "x" * 101}, "session must be 1 to 100 letters"),
        ({"session": "a\nb"}, "session must be 1 to 100 letters"),
        ({"session": ".."}, "session must be 1 to 100 letters"),
        ({"join_timeout_s": 0}, "join_timeout_s must be from 1 to 86400, not 0"),
        ({"own_label": ["s3://KEY:SECRET@bucket"]}, "own_label must be a str, not a list"),
        ({"join_timeout_s": 10**6}, "join_timeout_s must be from 1 to 86400"),
    ],
)
def test_a_wrong_argument_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_task(arguments(**changes))
    assert said in str(caught.value)


def test_what_is_a_partys_own_is_not_shown() -> None:
    config = Config.from_task(arguments(own_label="s3://KEY:SECRET@bucket", model="squared"))
    for field, said in (("own_label", "b"), ("data", "b"), ("model", "b, not 'squared'")):
        with pytest.raises(ConfigError) as caught:
            config.require(False, field, "b")
        assert str(caught.value) == f"{field} must be {said}"
