"""Ids in one form: what is one id and what is another, and the bytes that stand for them."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tallystick.tables import ids

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FORMS = st.lists(st.sampled_from(sorted(ids.FORMS)), unique=True)
# Few letters, so that different tuples often have the same text in all.
CONFUSABLE = st.lists(st.text("a,\x00\x01", max_size=4), min_size=1, max_size=4)


@given(CONFUSABLE, CONFUSABLE)
def test_different_values_never_encode_to_the_same_bytes(a: list[str], b: list[str]) -> None:
    assert (ids.encode(a) == ids.encode(b)) == (a == b)


@given(st.lists(TEXT, min_size=1, max_size=4))
def test_an_encoded_id_can_be_taken_apart_again(values: list[str]) -> None:
    encoded, found = ids.encode(values), []
    while encoded:
        length = int.from_bytes(encoded[:4], "big")
        found.append(encoded[4 : 4 + length].decode())
        encoded = encoded[4 + length :]
    assert found == values


def test_a_comma_does_not_move_between_columns() -> None:
    one = ids.encoded([pa.array(["a"]), pa.array(["b,c"])])
    other = ids.encoded([pa.array(["a,b"]), pa.array(["c"])])
    assert one != other


@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_columns_are_encoded_row_by_row(rows: list[tuple[str, str]]) -> None:
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(2)]
    assert ids.encoded(columns).to_pylist() == [ids.encode(row) for row in rows]


@given(TEXT, FORMS)
def test_normalising_twice_changes_nothing_more(value: str, forms: list[str]) -> None:
    once = ids.normalise(value, forms)
    assert ids.normalise(once, forms) == once


@given(st.lists(st.one_of(TEXT, st.none()), max_size=8), FORMS)
def test_a_value_is_normalised_alike_whatever_stands_beside_it(
    values: list[str | None], forms: list[str]
) -> None:
    together = ids.normalised(pa.array(values, pa.string()), forms).to_pylist()
    assert together == [ids.normalise(value or "", forms) for value in values]


@given(st.text(st.characters(max_codepoint=127), max_size=8), FORMS)
def test_ascii_is_treated_as_all_other_text_is(value: str, forms: list[str]) -> None:
    """Arrow does it for ASCII, Python for the rest: a letter beyond ASCII decides which."""
    mark = "\u4e2d"
    with_mark = ids.normalise(mark + value + mark, forms)
    assert with_mark.strip(mark) == ids.normalise("x" + value + "x", forms)[1:-1]
    if "integer" not in forms:
        assert ids.normalise(value, forms) == ids._unicode(value, forms)


@pytest.mark.parametrize(
    "other", ["caf\u00e9", "cafe\u0301", " caf\u00e9\t", "\uff43af\u00e9\u00a0"]
)
def test_forms_of_the_same_text_are_one_id(other: str) -> None:
    assert ids.normalise(other) == "caf\u00e9"


@pytest.mark.parametrize("other", ["Caf\u00e9", "cafe", "caf \u00e9"])
def test_other_text_is_another_id(other: str) -> None:
    assert ids.normalise(other) != "caf\u00e9"


def test_by_default_case_and_leading_zeros_tell_ids_apart() -> None:
    assert len({ids.normalise(value) for value in ("007", "7", "07", "a", "A")}) == 5


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("007", "7"),
        ("+7", "7"),
        ("7.0", "7"),
        ("7.", "7"),
        ("-007.00", "-7"),
        ("000", "0"),
        ("-0", "0"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("\uff10\uff17", "7"),
        # No whole numbers.
        ("7.5", "7.5"),
        ("0x7", "0x7"),
        ("1e3", "1e3"),
        ("A-007", "A-007"),
        ("+-7", "+-7"),
        ("", ""),
        ("-", "-"),
    ],
)
def test_whole_numbers_have_one_form(value: str, form: str) -> None:
    assert ids.normalise(value, ["nfkc", "integer"]) == form


@pytest.mark.parametrize(("value", "form"), [("AbC", "abc"), ("STRASSE", "stra\u00dfe")])
def test_case_can_be_left_out(value: str, form: str) -> None:
    assert ids.normalise(value, ["case"]) == ids.normalise(form, ["case"])
    assert ids.normalise(value, ["nfkc"]) != ids.normalise(form, ["nfkc"])


def test_the_agreement_tells_normalisations_apart_and_not_their_order() -> None:
    names = sorted(ids.FORMS)
    subsets = [[n for i, n in enumerate(names) if bits >> i & 1] for bits in range(16)]
    assert len({ids.agreement(forms) for forms in subsets}) == 16
    assert ids.agreement(["strip", "nfkc"]) == ids.agreement(["nfkc", "strip"])


def test_the_agreement_covers_the_version_of_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {form: ids.agreement([form]) for form in ids.FORMS}
    monkeypatch.setattr(ids.unicodedata, "unidata_version", "99.0.0")
    changed = {form for form in ids.FORMS if ids.agreement([form]) != before[form]}
    assert changed == {"nfkc", "case"}


@given(st.lists(st.lists(TEXT, min_size=2, max_size=2), max_size=30))
def test_digests_are_those_of_the_ids_in_their_order(rows: list[list[str]]) -> None:
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(2)]
    found = ids.digests(ids.encoded(columns))
    assert found.dtype == np.uint8
    assert found.shape == (len(rows), 32)
    for values, digest in zip(rows, found, strict=True):
        one = hashlib.blake2b(ids.encode(values), digest_size=32, person=b"tallystick id")
        assert digest.tobytes() == one.digest()


def test_a_part_of_an_array_has_the_digests_of_its_own_rows() -> None:
    whole = ids.encoded([pa.array(["a", "bc", "d"])])
    assert (ids.digests(whole.slice(1, 2)) == ids.digests(whole)[1:]).all()
