"""The step itself: every party a process, on real links, from its file to its artifact."""

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tallystick.runtime.manifest import Manifest

from tests.psi.room import Ended, Steps, steps

protocols = pytest.mark.parametrize("protocol", ["aided", "ecdh"])
PLANTED = "cucumber"
SOON_S = 30


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Steps]:
    with steps(tmp_path) as found:
        yield found


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Steps]:
    with steps(tmp_path, 3) as found:
        yield found


def csv(first: int, last: int, form: str = "{}", header: str = "id,x") -> str:
    order = np.random.default_rng(first).permutation(np.arange(first, last))
    return header + "\n" + "".join(f"{form.format(number)},{number}\n" for number in order)


def aligned(place: Steps, party: str) -> pd.DataFrame:
    return pd.read_parquet(place.folder / party / "aligned" / "aligned.parquet")


def assert_succeeded(ended: dict[str, Ended]) -> None:
    for side in ended.values():
        assert side.exit_code == 0, side.log


def assert_nothing_left(place: Steps) -> None:
    """Whatever came of it, no file is left that is neither input, log nor output."""
    for party in place.place.parties:
        left = {path.name for path in (place.folder / party).iterdir()}
        assert left <= {"data.csv", "log", "aligned", "reveals.md"}


def assert_failed(ended: dict[str, Ended], kind: str, words: str, party: str = "") -> None:
    """Every side ended by name: the party at fault by its own error, others by its word."""
    for name, side in ended.items():
        failed = side.event("failed")
        assert side.exit_code == failed["exit_code"] != 0, side.log
        assert re.search(words, failed["message"]), failed["message"]
        assert "Traceback" not in side.log
        assert PLANTED not in side.log
        if name == party or failed["kind"] == kind:
            assert failed["kind"] == kind
        else:
            assert failed["kind"] == "PeerLost"


@protocols
def test_rows_are_aligned_in_one_order_at_every_party(three: Steps, protocol: str) -> None:
    three.write(alice=csv(0, 400), bob=csv(100, 500), carol=csv(50, 350))
    assert_succeeded(three.run(protocol=protocol))
    tables = {name: aligned(three, name) for name in three.place.parties}
    orders = [list(table["id"]) for table in tables.values()]
    assert orders[0] == orders[1] == orders[2]
    assert set(orders[0]) == {str(number) for number in range(100, 350)}
    assert orders[0] != sorted(orders[0])
    for table in tables.values():
        assert table["id"].tolist() == table["x"].astype(str).tolist()
    manifests = [
        Manifest.read(three.folder / name / "aligned", "aligned") for name in three.place.parties
    ]
    assert manifests[0].joint == manifests[1].joint == manifests[2].joint
    assert manifests[0].joint["rows"] == 250
    assert len(bytes.fromhex(manifests[0].joint["row_order"])) == 32
    assert_nothing_left(three)


@protocols
def test_a_hundred_thousand_ids_of_skewed_sizes(two: Steps, protocol: str) -> None:
    two.write(alice=csv(0, 100_000), bob=csv(99_500, 101_500))
    assert_succeeded(two.run(protocol=protocol, timeout_s=110))
    orders = [list(aligned(two, name)["id"]) for name in two.place.parties]
    assert orders[0] == orders[1]
    assert set(orders[0]) == {str(number) for number in range(99_500, 100_000)}


@protocols
def test_ids_that_are_written_in_different_ways_meet_as_agreed(two: Steps, protocol: str) -> None:
    two.write(
        alice='first,second,x\n"A,1",007,1\nb,8.0,2\n" Ｃ ",+9,3\n',
        bob='second,first,y\n7,"a,1",4\n8,B,5\n0009,c,6\n1,"a,1",7\n',
    )
    forms = ["integer", "case", "strip", "nfkc"]
    assert_succeeded(two.run(protocol=protocol, id_columns=["first", "second"], normalise=forms))
    assert sorted(zip(aligned(two, "alice")["x"], aligned(two, "bob")["y"], strict=True)) == [
        (1, 4),
        (2, 5),
        (3, 6),
    ]


def test_the_first_of_repeated_ids_is_kept_where_all_agree_to(two: Steps) -> None:
    two.write(alice="id,x\na,1\nb,2\na,3\n", bob="id,y\nb,4\na,5\nb,6\nc,7\n")
    assert_succeeded(two.run(on_duplicate="first"))
    pairs = zip(aligned(two, "alice")["x"], aligned(two, "bob")["y"], strict=True)
    assert sorted(pairs) == [(1, 5), (2, 4)]


def test_ids_that_were_hashed_before_are_ids_like_others(two: Steps) -> None:
    form = "{:064x}"
    two.write(alice=csv(0, 40, form), bob=csv(20, 60, form))
    assert_succeeded(two.run())
    assert len(aligned(two, "alice")) == 20


# Who learns what


@protocols
def test_a_single_receiver_has_a_table_and_others_have_none(two: Steps, protocol: str) -> None:
    two.write(alice=csv(0, 40), bob=csv(20, 60))
    ended = two.run(protocol=protocol, result="receiver", receiver="bob")
    assert_succeeded(ended)
    assert set(aligned(two, "bob")["x"]) == set(range(20, 40))
    assert not (two.folder / "alice" / "aligned" / "aligned.parquet").exists()
    joint = {
        name: Manifest.read(two.folder / name / "aligned", "aligned").joint
        for name in two.place.parties
    }
    agreed = {"id_columns": ["id"], "normalise": ["nfkc", "strip"]}
    assert joint["alice"] == {**agreed, "result": "receiver", "receiver": "bob"}
    assert joint["bob"]["rows"] == 20
    assert ended["bob"].event("finished")["results"] == {"rows_matched": 20}
    assert ended["alice"].event("finished")["results"] == {}
    # Nor does anything that alice was told say how many match.
    told = ended["alice"].log + (two.folder / "alice" / "reveals.md").read_text()
    assert not re.search(r"\b20\b(?!\.|\d|:|-|T)", re.sub(r'"time": "[^"]*"', "", told))


@protocols
def test_the_size_alone_can_be_asked_for(two: Steps, protocol: str) -> None:
    two.write(alice=csv(0, 40), bob=csv(20, 60))
    ended = two.run(protocol=protocol, result="size")
    assert_succeeded(ended)
    for name, side in ended.items():
        assert side.event("finished")["results"] == {"rows_matched": 20}
        assert {path.name for path in (two.folder / name / "aligned").iterdir()} == {
            "manifest.json",
            "id_profile.json",
        }


def test_the_profile_of_ids_stays_with_their_owner(two: Steps) -> None:
    two.write(alice=csv(100, 140, "AA-{}"), bob=csv(100, 150, "AA-{}") + "bb-1,1\n")
    ended = two.run()
    assert_succeeded(ended)
    own = json.loads((two.folder / "bob" / "aligned" / "id_profile.json").read_text())
    assert own["shapes"] == {"AA-999": 0.9804, "aa-9": 0.0196}
    assert own["distinct"] == 51
    assert ended["bob"].event("profile")["shapes"] == own["shapes"]
    assert "aa-9" not in ended["alice"].log
    # The dealer hears nothing of it either.
    assert "aa-9" not in (two.place.folder / "dealer.log").read_text()


# What goes wrong is said on every side


def test_too_few_matches_say_why_where_shapes_are_compared(two: Steps) -> None:
    two.write(alice=csv(0, 40, "AB{:04}"), bob=csv(0, 40, "ab{:04}"))
    ended = two.run(compare_shapes=True)
    words = "fewer rows match than min_intersection = 1, .* 'AA9999' .*'aa9999' .*add 'case'"
    assert_failed(ended, "DataError", words)
    assert_nothing_left(two)
    assert_succeeded(two.run(compare_shapes=True, normalise=["case"]))
    assert "commonest shapes" in (two.folder / "alice" / "reveals.md").read_text()


def test_without_an_agreement_no_shape_is_told(two: Steps) -> None:
    two.write(alice=csv(0, 40, "AB{:04}"), bob=csv(0, 40, "ab{:04}"))
    ended = two.run()
    assert_failed(ended, "DataError", "fewer rows match .*; check .* compare_shapes on all sides")
    assert "aa9999" not in ended["alice"].log
    assert "AA9999" not in ended["bob"].log


@protocols
def test_a_suspiciously_small_result_is_warned_of(two: Steps, protocol: str) -> None:
    two.write(alice=csv(0, 300, "{:04}"), bob=csv(299, 700))
    ended = two.run(compare_shapes=True, protocol=protocol)
    assert_failed(ended, "DataError", "add 'integer'")
    two.write(alice=csv(0, 300, "{:04}") + "500,1\n")
    ended = two.run(compare_shapes=True, protocol=protocol)
    assert_succeeded(ended)
    for side in ended.values():
        said = side.event("warning")["message"]
        assert re.search("only 1 ids match, and every party has 301 or more; .*'integer'", said)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"normalise": ["nfkc"]}, "normalise"),
        ({"on_duplicate": "first"}, "on_duplicate"),
        ({"protocol": "ecdh"}, "protocol"),
        ({"result": "size"}, "result"),
        ({"id_columns": ["x"]}, "id_columns"),
        ({"compare_shapes": True}, "compare_shapes"),
    ],
)
def test_parties_that_were_told_different_things_both_say_which(
    two: Steps, changes: dict[str, Any], field: str
) -> None:
    two.write(alice=csv(0, 4), bob=csv(0, 4))
    ended = two.run(of={"bob": changes})
    for side in ended.values():
        assert side.event("failed")["kind"] == "PeerMismatch"
        assert f"{field!r} differs" in side.event("failed")["message"]


@protocols
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (csv(0, 40) + f"{PLANTED},1\n {PLANTED},2\n", "1 of 42 rows repeat the id .* 'first'"),
        (csv(0, 40) + ",1\n", "'id' is empty in 1 of 41 rows; fill or drop"),
        (csv(0, 40) + f"{PLANTED}\n", "row 42 of 'data.csv' has 1 fields"),
        ("", "'data.csv' is empty"),
        ("id,x\n", "no rows"),
    ],
    ids=["repeated", "empty", "malformed", "no file", "no rows"],
)
def test_a_bad_file_of_one_party_is_named_on_every_side(
    three: Steps, protocol: str, content: str, words: str
) -> None:
    three.write(alice=csv(0, 40), bob=content, carol=csv(0, 40))
    begin = time.monotonic()
    ended = three.run(protocol=protocol)
    assert_failed(ended, "DataError", words, "bob")
    assert ended["alice"].event("failed")["at_fault"] == "bob"
    assert time.monotonic() - begin < SOON_S
    assert_nothing_left(three)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"id_columns": []}, "id_columns must be one or more different names"),
        ({"id_columns": ["id", "id"]}, "id_columns"),
        ({"id_columns": [" "]}, "id_columns"),
        ({"min_intersection": 0}, "min_intersection must be 1 or more, not 0"),
        ({"normalise": ["upper"]}, "normalise must be a list of some of nfkc, strip, case, int"),
        ({"normalise": ["case", "case"]}, "normalise"),
        ({"on_duplicate": "last"}, "on_duplicate must be one of error, first, not 'last'"),
        ({"protocol": "kkrt"}, "protocol must be one of aided, ecdh"),
        ({"result": "rows"}, "result must be one of all, receiver, size"),
        ({"result": "receiver"}, "receiver must be the name of a party"),
        ({"receiver": "bob"}, "receiver must be .* empty where it is not"),
        (
            {"result": "receiver", "receiver": "eve"},
            "receiver names 'eve', who takes no part; the parties are alice, bob",
        ),
    ],
)
def test_settings_out_of_range_are_refused_by_name(
    two: Steps, changes: dict[str, Any], what: str
) -> None:
    two.write(alice=csv(0, 4), bob=csv(0, 4))
    for side in two.run(**changes).values():
        assert side.event("failed")["kind"] == "ConfigError"
        assert re.search(what, side.event("failed")["message"])


# Life and death


@pytest.mark.parametrize(
    ("protocol", "number"),
    [
        ("aided", signal.SIGKILL),
        ("ecdh", signal.SIGKILL),
        # A frozen party is waited for until it counts as silent.
        pytest.param("ecdh", signal.SIGSTOP, marks=pytest.mark.slow),
    ],
)
def test_a_party_that_dies_or_freezes_is_named_and_the_session_can_begin_again_at_once(
    three: Steps, protocol: str, number: int
) -> None:
    rows = 200_000 if protocol == "aided" else 30_000
    three.write(alice=csv(0, rows), bob=csv(5, rows), carol=csv(9, rows))
    for party in three.place.parties:
        three.start(party, protocol=protocol)
    for party in three.place.parties:
        three.started[party].await_line('"joined"', 60)
    if protocol == "ecdh":
        three.started["alice"].await_line('"points"', 60)
    three.started["bob"].signal(number)
    begin = time.monotonic()
    ended = {party: three.wait(party, 60) for party in ("alice", "carol")}
    assert time.monotonic() - begin < SOON_S
    three.started["bob"].end()
    for side in ended.values():
        failed = side.event("failed")
        assert failed["kind"] in ("PeerLost", "PeerTimeout"), side.log
        assert failed["at_fault"] == "bob"
    assert_nothing_left(three)
    three.write(alice=csv(0, 40), bob=csv(10, 50), carol=csv(0, 30))
    begin = time.monotonic()
    assert_succeeded(three.run(protocol=protocol))
    assert len(aligned(three, "alice")) == 20
    assert time.monotonic() - begin < SOON_S
