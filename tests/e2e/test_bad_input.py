"""Bad input to one side, or to all: every side ends in seconds, by name, and writes nothing."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.e2e import steps

Tables = dict[str, pd.DataFrame]
ROWS = 40
SOON_S = 30
"""On any machine; a party that waits for one that will not come takes steps.JOIN_TIMEOUT_S."""
PLANTED = "cucumber-7c3f"
"""A value that stands in the data, and must not stand in any message."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with alice's table or with the job, and what each side must say of it."""

    spoil: Callable[[Tables], object]
    error: str
    exit_code: int
    words: str
    """A pattern of the message: who or what is wrong, and the remedy."""
    everywhere: bool = False
    """Whether both find out by themselves. Otherwise bob hears of it from alice."""
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


def good_tables() -> Tables:
    rng = np.random.default_rng(2)
    ids = [f"row-{number}" for number in range(ROWS)]
    alice = pd.DataFrame({"id": ids, "y": [0, 1] * (ROWS // 2), "x": rng.normal(size=ROWS)})
    bob = pd.DataFrame({"id": ids[::-1], "u": rng.normal(size=ROWS), "v": rng.normal(size=ROWS)})
    return {"alice": alice, "bob": bob}


def put(column: str, values: dict[int, object]) -> Callable[[Tables], object]:
    def spoil(tables: Tables) -> None:
        table = tables["alice"]
        table[column] = table[column].astype(object)
        for row, value in values.items():
            table.loc[row, column] = value

    return spoil


def rename(party: str, old: str, new: str) -> Callable[[Tables], object]:
    return lambda tables: tables.update({party: tables[party].rename(columns={old: new})})


def strangers(count: int) -> Callable[[Tables], object]:
    """Leave so many of alice's ids that bob has too."""
    return put("id", {row: f"{PLANTED}-{row}" for row in range(count, ROWS)})


def nothing(tables: Tables) -> None:
    pass


PSI = {
    "missing file": Fault(nothing, "DataError", 3, "no file 'data.csv'; check the data path"),
    "missing id column": Fault(
        rename("alice", "id", "Id"), "DataError", 3, "no column 'id'; did you mean 'Id'?"
    ),
    "empty id": Fault(
        put("id", {3: None, 7: None}), "DataError", 3, f"'id' is empty in 2 of {ROWS} rows; fill"
    ),
    "duplicate id": Fault(
        put("id", {3: PLANTED, 7: f" {PLANTED} "}),
        "DataError",
        3,
        f"1 of {ROWS} rows repeat the id .* keep one row",
    ),
    "empty intersection": Fault(
        strangers(0),
        "DataError",
        3,
        "fewer rows match than min_intersection = 10.*; check",
        everywhere=True,
    ),
    "intersection below the minimum": Fault(
        strangers(9),
        "DataError",
        3,
        "fewer rows match than min_intersection = 10.*; check",
        everywhere=True,
    ),
    "no id columns": Fault(
        nothing,
        "ConfigError",
        2,
        "id_columns must be one or more",
        everywhere=True,
        parameters={"id_columns": []},
    ),
}

ENCODE = {
    "label held by both": Fault(
        lambda tables: tables["bob"].insert(1, "y", [1, 0] * (ROWS // 2)),
        "ConfigError",
        2,
        "label 'y' is held by 'alice' and 'bob'; exactly one",
        everywhere=True,
    ),
    "label held by none": Fault(
        rename("alice", "y", "w"),
        "ConfigError",
        2,
        "no party holds the label 'y'; .*name a column that exactly one party holds",
        everywhere=True,
    ),
    "infinity in a feature": Fault(
        put("x", {5: "inf"}), "DataError", 3, f"column 'x' is infinite in 1 of {ROWS} rows; mend"
    ),
    "hole in a feature": Fault(
        put("x", {5: None}),
        "DataError",
        3,
        f"column 'x' is empty in 1 of {ROWS} rows; fill",
        parameters={"preparation": {"numbers": {"fill": "refuse"}}},
    ),
    "label of three classes": Fault(
        put("y", {5: 2}), "DataError", 3, "label 'y' has 3 different values .* exactly two; map"
    ),
    "label of one class": Fault(
        put("y", dict.fromkeys(range(ROWS), PLANTED)), "DataError", 3, "label 'y' has 1 different"
    ),
    "unknown model": Fault(
        nothing,
        "ConfigError",
        2,
        "model must be one of linear_svm, .* not 'linear_swm'",
        everywhere=True,
        parameters={"model": "linear_swm"},
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Site]:
    with steps.site(tmp_path_factory.mktemp("site"), parties=2) as site:
        yield site


def session(site: steps.Site, folder: Path, name: str, fault: Fault) -> steps.Session:
    tables = good_tables()
    fault.spoil(tables)
    result = steps.Session(site, folder, re.sub(r"\W", "-", name), fault.parameters)
    result.write(tables)
    return result


def check(sides: dict[str, steps.Side], fault: Fault, seconds: float) -> None:
    found_out = set()
    for party, side in sides.items():
        failed = side.event("failed")
        assert failed["exit_code"] == side.exit_code
        if failed["kind"] == fault.error:
            assert side.exit_code == fault.exit_code
            found_out.add(party)
        else:
            assert (failed["kind"], failed["exit_code"]) == ("PeerLost", 4)
            assert failed["at_fault"] == "alice"
            assert failed["message"].startswith(f"'alice' stopped with {fault.error}: ")
        # Whoever reads one side's message alone learns what to do.
        assert re.search(fault.words, failed["message"]), failed["message"]
        assert PLANTED not in side.log
        assert "Traceback" not in side.log
    # What both find out is nobody's fault: neither hears of it from the other first.
    assert found_out == (set(sides) if fault.everywhere else {"alice"})
    assert seconds < SOON_S


def assert_nothing_written(session: steps.Session, step: str) -> None:
    for party in session.parties:
        left = {path.name for path in session.of(party).iterdir()}
        before = {"data.csv", "mlflow.db", "psi.log", "encode.log"}
        if step == "encode":
            before |= {"aligned", "psi.md"}
        assert left <= before


@pytest.mark.parametrize("name", PSI)
def test_psi_refuses(name: str, site: steps.Site, tmp_path: Path) -> None:
    fault = PSI[name]
    trial = session(site, tmp_path, name, fault)
    if name == "missing file":
        (trial.of("alice") / "data.csv").unlink()
    begin = time.monotonic()
    sides = trial.run("psi")
    check(sides, fault, time.monotonic() - begin)
    assert_nothing_written(trial, "psi")


@pytest.mark.parametrize("name", ENCODE)
def test_encode_refuses(name: str, site: steps.Site, tmp_path: Path) -> None:
    fault = ENCODE[name]
    trial = session(site, tmp_path, name, fault)
    for side in trial.run("psi").values():
        assert side.exit_code == 0, side.log
    begin = time.monotonic()
    sides = trial.run("encode")
    check(sides, fault, time.monotonic() - begin)
    assert_nothing_written(trial, "encode")


def test_a_label_of_many_values_may_be_regressed(site: steps.Site, tmp_path: Path) -> None:
    """What is refused for a classifier is no fault in itself."""
    fault = dataclasses.replace(
        ENCODE["label of three classes"], parameters={"model": "linear_regression"}
    )
    trial = session(site, tmp_path, "regressed", fault)
    for step in ("psi", "encode"):
        for side in trial.run(step).values():
            assert side.exit_code == 0, side.log


def test_a_party_that_never_comes_is_named_after_the_deadline(
    site: steps.Site, tmp_path: Path
) -> None:
    trial = session(site, tmp_path, "never", PSI["missing file"])
    sides = trial.run("psi", parties=("alice",), changes={"alice": {"join_timeout_s": 2}})
    assert sides["alice"].exit_code == 4
    failed = sides["alice"].event("failed")
    assert (failed["kind"], failed["at_fault"]) == ("PeerTimeout", "bob")
    assert re.search("'bob' .* did not join .* step 'psi', within 2 s; check", failed["message"])
    assert {path.name for path in trial.of("alice").iterdir()} <= {
        "data.csv",
        "mlflow.db",
        "psi.log",
    }


@pytest.mark.parametrize(
    ("step", "changes", "field"),
    [("psi", {"min_intersection": 11}, "min_intersection"), ("encode", {"seed": 1}, "seed")],
)
def test_parties_that_were_told_different_things_both_say_which(
    site: steps.Site, tmp_path: Path, step: str, changes: dict[str, Any], field: str
) -> None:
    trial = session(site, tmp_path, f"differ-{step}", PSI["missing file"])
    if step == "encode":
        assert {side.exit_code for side in trial.run("psi").values()} == {0}
    for side in trial.run(step, changes={"bob": changes}).values():
        assert side.exit_code == 4
        failed = side.event("failed")
        assert failed["kind"] == "PeerMismatch"
        assert f"{field!r} differs" in failed["message"]
    assert_nothing_written(trial, step)
