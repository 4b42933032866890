"""Shapes say what ids look like and hold none; hints say why ids may not match."""

import re
from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.psi import hints, shapes
from tallystick.psi.profile import Profile
from tallystick.runtime.errors import ProtocolViolation


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ("12345-AB", "99999-AA"),
        ("ab12", "aa99"),
        ("", ""),
        (" 7 ", " 9 "),
        ("123456789012345678", "9{18}"),
        ("a@b.org", "a@a.aaa"),
        ("d41d8cd98f00b204e9800998ecf8427e", "hex(32)"),
        ("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", "hex(64)"),
        ("123e4567-e89b-12d3-a456-426614174000", "uuid"),
        ("Müller", "Aaaaaa"),
        ("中文", "aa"),
        ("x\u200b", "a<U+200B>"),
        ("a-b-c-d-e-f-g-h-i-j-k-l-m-n-o-p-q-r-s-t-u-v", "a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a..."),
    ],
)
def test_the_shape_of_a_value(value: str, shape: str) -> None:
    assert shapes.shape(value) == shape


@given(st.text(st.characters(categories=["L", "Nd"]), min_size=1, max_size=40))
def test_a_shape_keeps_no_letter_and_no_digit(value: str) -> None:
    assert set(shapes.shape(value)) <= set("9Aa{}0123456789hexuid()-.")


def test_shapes_of_several_columns_stand_side_by_side() -> None:
    columns = [pa.array(["ab", "cd", "1"]), pa.array(["1", "2", "x"])]
    assert shapes.sampled(columns) == {"aa | 9": 2, "9 | a": 1}


def test_a_sample_is_spread_over_the_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "SAMPLE", 100)
    half = pa.array(["1"] * 5000 + ["a"] * 5000)
    assert shapes.sampled([half]) == {"9": 50, "a": 50}


def test_the_rarest_of_too_many_shapes_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "MOST_KEPT", 2)
    merged = shapes.merged(Counter({"9": 5, "a": 1}), {"a": 1, "A": 1})
    assert merged == {"9": 5, "a": 2}


def profile(**counts: int) -> Profile:
    return Profile(rows=1, distinct=1, duplicates=0, empty={}, shapes=Counter(counts))


def test_rare_shapes_are_not_told() -> None:
    told = hints.told(profile(a=990, b=9, c=1).commonest())
    assert told == {"a": 0.99}
    assert len(hints.told(profile(**{f"s{i}": 10 for i in range(9)}).commonest())) == 5


def of(*values: str) -> dict[str, float]:
    counts = Counter(shapes.shape(value) for value in values)
    return {name: count / len(values) for name, count in counts.items()}


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (of("AB12"), of("ab12"), "add 'case' to normalise"),
        (of("12", "345"), of("00012", "00345"), "add 'integer' to normalise"),
        (of("12"), of("12.0"), "add 'integer' to normalise"),
        (of("12"), of(" 12"), "add 'strip' to normalise"),
        (of("12-34"), of("1234"), "separators differ"),
        (of("ab-12"), of("AB0012"), "case, separators and leading zeros"),
        (of("12"), of("d41d8cd98f00b204e9800998ecf8427e"), "one side's ids are hashes"),
        (of("12"), of("a@b.c"), "check that all sides use the same id columns"),
        (of("12"), of("34"), "look alike .* probably different ids"),
    ],
)
def test_the_likely_difference_is_named(
    ours: dict[str, float], theirs: dict[str, float], words: str
) -> None:
    for pair in ((ours, theirs), (theirs, ours)):
        assert re.search(words, hints.advice(("alice", "bob"), pair))


def test_of_three_the_two_that_differ_are_named() -> None:
    said = hints.advice(("alice", "bob", "carol"), [of("12"), of("34"), of("x1")])
    assert "'alice'" in said
    assert "'carol'" in said
    assert "'bob'" not in said


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"shapes": []},
        {"shapes": {"9": "much"}},
        {"shapes": {"9": 2}},
        {"shapes": {"9": True}},
        {"shapes": {"x" * 300: 0.5}},
        {"shapes": {str(number): 0.1 for number in range(9)}},
        {"shapes": {}, "more": 1},
    ],
)
def test_poor_shapes_are_refused_and_their_sender_named(answer: dict[str, object]) -> None:
    with pytest.raises(ProtocolViolation, match="party 'bob'"):
        hints.parsed("bob", answer)


def test_another_partys_words_cannot_break_a_line_of_the_log() -> None:
    assert hints.parsed("bob", {"shapes": {"9\n\x1b[31m{": 0.5}}) == {"9[31m{": 0.5}
