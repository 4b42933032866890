"""Preparation gives what scikit-learn's transformers give, and prediction replays it."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.tables import fitting, preparation
from tallystick.tables.preparation import Number, OneHot, Ordinal, Preparation
from tallystick.tables.rules import CategoryRule, NumberRule, Rules

TRAIN = np.arange(0, 300, 2)
DATE_PARTS = ("year", "month", "day", "weekday")
SCALERS = {
    "standard": StandardScaler,
    "minmax": MinMaxScaler,
    "robust": RobustScaler,
    "none": FunctionTransformer,
}


def a_table(rows: int = 300, seed: int = 4) -> pa.Table:
    """An ordinary table: gaps, rare categories, dates, a constant and an empty column."""
    rng = np.random.default_rng(seed)

    def gaps(values: Any, part: float = 0.1) -> list[Any]:
        return [
            None if gone else value
            for value, gone in zip(values, rng.random(rows) < part, strict=True)
        ]

    days = [
        datetime.date(2019, 1, 1) + datetime.timedelta(int(d)) for d in rng.integers(0, 900, rows)
    ]
    return pa.table(
        {
            "age": gaps(rng.integers(18, 90, rows).tolist()),
            "income": gaps(rng.lognormal(10, 1, rows).tolist()),
            "is_new": (rng.random(rows) < 0.3).tolist(),
            "region": gaps(rng.choice(["north", "south", "east", "w\u00e4st"], rows).tolist()),
            "job": rng.choice([f"job {i}" for i in range(60)], rows, p=_skewed(60)).tolist(),
            "grade": rng.choice(["low", "middle", "high"], rows).tolist(),
            "opened": pa.array(days, pa.date32()),
            "constant": [7] * rows,
            "nothing": pa.nulls(rows),
        }
    )


def _skewed(count: int) -> np.ndarray:
    weights = 1 / np.arange(1, count + 1) ** 2
    return weights / weights.sum()


def fitted(table: pa.Table, rules: dict[str, Any], train: np.ndarray = TRAIN) -> Preparation:
    parsed = Rules.parse(rules)
    transforms = []
    for name in parsed.chosen(table.column_names):
        kind = fitting.kind_of(name, table.schema.field(name).type)
        rule = parsed.of(name, kind or "number")
        transforms += fitting.fit(name, table.column(name), rule, train).transforms
    return Preparation(transforms=tuple(transforms))


def as_frame(table: pa.Table) -> pd.DataFrame:
    """The table as scikit-learn takes it: NaN where a number is missing, dates as their parts."""
    frame = table.to_pandas()
    for name in ("region", "job"):
        frame[name] = frame[name].fillna("").astype(object)
    opened = pd.to_datetime(frame.pop("opened"))
    for part in DATE_PARTS:
        taken = opened.dt.day_of_week if part == "weekday" else getattr(opened.dt, part)
        frame[f"opened.{part}"] = taken.astype(float)
    frame["is_new"] = frame["is_new"].astype(float)
    return frame


def one_hot(**settings: Any) -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="infrequent_if_exist", sparse_output=False, **settings)


def test_the_defaults_are_those_of_a_column_transformer_and_unseen_rows_replay_them() -> None:
    table, unseen = a_table(), a_table(50, seed=9)
    unseen = unseen.set_column(3, "region", pa.array(["nowhere"] * 25 + [None] * 25))
    number = make_pipeline(SimpleImputer(), StandardScaler())
    oracle = ColumnTransformer(
        [
            ("a", number, ["age"]),
            ("b", number, ["income"]),
            ("c", number, ["is_new"]),
            ("d", one_hot(min_frequency=0.01, max_categories=32), ["region", "job", "grade"]),
            ("e", number, [f"opened.{part}" for part in DATE_PARTS]),
        ]
    )
    found = fitted(table, {})
    frame = as_frame(table)
    oracle.fit(frame.iloc[TRAIN])
    # Written and read again, as prediction finds it.
    again = Preparation(transforms=tuple(map(_copied, found.transforms)))
    for rows, frames in ((table, frame), (unseen, as_frame(unseen))):
        np.testing.assert_allclose(again.apply(rows), oracle.transform(frames), atol=1e-9)


def _copied(transform: Any) -> Any:
    fields = json.loads(json.dumps({n: getattr(transform, n) for n in transform.__slots__}))
    return preparation._transform({"kind": transform.KIND, **fields})


@pytest.mark.parametrize("scale", SCALERS)
@pytest.mark.parametrize("fill", ["mean", "median", -3.5])
@pytest.mark.parametrize("log1p", [False, True])
def test_numbers_are_filled_clipped_and_scaled_as_in_scikit_learn(
    scale: str, fill: str | float, log1p: bool
) -> None:
    table = a_table()
    if log1p and fill == -3.5:
        fill = 4.5
    clip = [0.05, 0.9]
    rules = {"fill": fill, "scale": scale, "log1p": log1p, "clip": clip, "indicator": True}
    found = fitted(table, {"keep": ["income"], "columns": {"income": rules}})
    constant = isinstance(fill, float)
    imputer = SimpleImputer(
        strategy="constant" if constant else fill, fill_value=fill if constant else None
    )
    values = as_frame(table)[["income"]].to_numpy()
    low, high = np.quantile(imputer.fit_transform(values[TRAIN]), clip)
    oracle = make_pipeline(
        imputer,
        FunctionTransformer(lambda x: np.clip(x, low, high)),
        FunctionTransformer(np.log1p if log1p else None),
        SCALERS[scale](),
    )
    oracle.fit(values[TRAIN])
    expected = np.hstack([oracle.transform(values), np.isnan(values)])
    # Income as it is has no room in fixed point, so what is not scaled is not asked for its size.
    (transform,) = found.transforms
    np.testing.assert_allclose(transform.apply(table.column("income")), expected, rtol=1e-9)
    assert found.features == ("income", "income.missing")


@given(
    categories=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60),
    rare=st.floats(0, 0.6),
    most=st.integers(2, 9),
)
@settings(max_examples=60)
def test_which_categories_are_rare_is_as_in_scikit_learn(
    categories: list[str], rare: float, most: int
) -> None:
    values = np.array(categories, dtype=object)[:, None]
    train = np.arange(len(categories))
    column = pa.chunked_array([pa.array(categories)])
    found = fitting.fit("c", column, CategoryRule(rare=rare, most=most), train)
    unseen = np.array([["a"], ["unseen"]], dtype=object)
    oracle = one_hot(min_frequency=rare or None, max_categories=most)
    expected = oracle.fit(values).transform(np.vstack([values, unseen]))
    if expected.shape[1] < 2:
        assert found.transforms == ()
        assert len(found.notes) == 1
        return
    (transform,) = found.transforms
    shown = transform.apply(pa.array([*categories, "a", "unseen"]))
    np.testing.assert_array_equal(shown, expected)


def test_an_order_is_from_nought_to_one_and_an_unknown_value_is_in_its_middle() -> None:
    order = ["low", "middle", "high"]
    found = fitted(
        a_table(), {"keep": ["grade"], "columns": {"grade": {"encode": "ordinal", "order": order}}}
    )
    oracle = make_pipeline(OrdinalEncoder(categories=[order]), MinMaxScaler())
    values = np.array([["high"], ["low"], ["middle"]], dtype=object)
    expected = oracle.fit(values).transform(values)
    (transform,) = found.transforms
    assert transform.apply(pa.array(["high", "low", "middle", "odd", None])).tolist() == [
        *expected.tolist(),
        [0.5],
        [0.5],
    ]


VALUES = hnp.arrays(np.float64, st.integers(1, 30), elements=st.floats(-1e6, 1e6, width=32))


@given(VALUES)
def test_standardising_is_that_of_scikit_learn(values: np.ndarray) -> None:
    found = fitting.fit_number("x", values, NumberRule(), np.arange(len(values)))
    theirs = StandardScaler().fit(values[:, None])
    if not found.transforms:
        assert theirs.scale_ == [1.0]
        return
    (ours,) = found.transforms
    assert isinstance(ours, Number)
    size = np.abs(values).max() + 1
    # Both round in float64, at the size of the values, and in another order.
    np.testing.assert_allclose(ours.shift / size, theirs.mean_ / size, atol=1e-12)
    np.testing.assert_allclose(ours.scale / size, theirs.scale_ / size, atol=1e-7)


def test_only_the_training_rows_are_learnt_from() -> None:
    values = np.array([1.0, 3.0, 102.0])
    (found,) = fitting.fit_number("x", values, NumberRule(), np.arange(2)).transforms
    assert isinstance(found, Number)
    assert found.scaled(values).tolist() == [-1, 1, 100]


@pytest.mark.parametrize(
    ("column", "note"),
    [
        (pa.array([7, 7, 7]), "column 'x' is constant"),
        (pa.array([0.1] * 3), "column 'x' is constant"),
        (pa.array([7, None, 7]), "column 'x' is constant"),
        (pa.array([None, None, 3]), "column 'x' has no values to learn from"),
        (pa.nulls(3), "column 'x' has no values"),
        (pa.nulls(3, pa.string()), "column 'x' has no values"),
        (pa.array(["a", "a", "b"]), "column 'x' is constant"),
        (pa.array([datetime.date(2020, 1, 1)] * 3), "column 'x' is constant"),
    ],
)
def test_a_column_that_teaches_nothing_is_left_out_with_a_note(column: pa.Array, note: str) -> None:
    kind = fitting.kind_of("x", column.type)
    rule = Rules.parse({}).of("x", kind or "number")
    found = fitting.fit("x", pa.chunked_array([column]), rule, np.arange(2))
    assert found.transforms == ()
    assert found.notes[0].startswith(note)


NUMBERS = [f"{n}" for n in range(1000, 1100)]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([*NUMBERS, "4711?"], "correct the values that are none (1 of 101), or name what"),
        ([n.replace("0", ",", 1) for n in NUMBERS], 'declare reading: {decimal: ","} if the'),
        ([f"{n}.5" for n in NUMBERS], "declare reading: {types: {x: number}}, and no decimal"),
        ([f"{n}.5" for n in NUMBERS] + ["4,711"], "write all of them with a point, or all with"),
        (["a"] * 40 + [f"4711 {n}" for n in range(100)], "71% of the training rows share"),
        ([*NUMBERS[:30], *NUMBERS[:30], ""], ""),
        (["0", "1", "2", "3+"] * 9, ""),
        ([f"{n}a" for n in NUMBERS[:30]] * 9, ""),
    ],
)
def test_an_owner_hears_of_a_column_that_its_texts_destroy(texts: list[str], said: str) -> None:
    column = pa.chunked_array([pa.array(texts)])
    notes = fitting.fit("x", column, CategoryRule(), np.arange(len(texts))).notes
    assert bool(notes) == bool(said)
    assert said in "".join(notes)
    assert "4711" not in "".join(notes)


def test_names_of_features_hold_no_value() -> None:
    names = fitted(a_table(), {}).features
    assert "region#1" in names
    assert "opened.weekday" in names
    assert not any("north" in name or "job 1" in name for name in names)


def test_columns_are_chosen_by_name_and_pattern() -> None:
    rules = Rules.parse({"keep": ["age", "i*", "region"], "drop": ["is_*"]})
    assert rules.chosen(["region", "income", "is_new", "age", "grade"]) == [
        "region",
        "income",
        "age",
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keeps": ["a"]}, "preparation has no key 'keeps'; it knows categories, columns"),
        ({"keep": "a"}, "preparation.keep must be a list of names or patterns"),
        ({"columns": ["a"]}, "preparation.columns must be a mapping"),
        ({"columns": {"a": "mean"}}, "preparation.columns.a must be a mapping"),
        (
            {"columns": {"a": {"fil": 1}}},
            "no kind of column knows all of 'fil'; a number takes fill",
        ),
        (
            {"numbers": {"fill": "mode"}},
            "preparation.numbers: fill must be mean, median, refuse or",
        ),
        ({"numbers": {"scale": "unit"}}, "scale must be one of standard, minmax"),
        ({"numbers": {"clip": [0.9, 0.1]}}, "clip must be two quantiles"),
        ({"numbers": {"clip": 3}}, "preparation.numbers"),
        ({"numbers": {"log1p": 1}}, "log1p must be true or false"),
        ({"categories": {"encode": "hash"}}, "encode must be one of one_hot, ordinal"),
        ({"categories": {"encode": "ordinal"}}, "order must be given for encode: ordinal"),
        ({"categories": {"order": ["a", "a"]}}, "order must be a list of different texts"),
        ({"categories": {"rare": 1}}, "rare must be from 0 to below 1"),
        ({"categories": {"most": 1}}, "most must be from 2 to 1024"),
        ({"dates": {"parts": ["century"]}}, "parts must be some of year, month"),
        ({"dates": {"log1p": True}}, "preparation.dates holds an unknown key"),
    ],
)
def test_a_poor_rule_is_refused_by_key(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Rules.parse(given)
    assert said in str(caught.value)


def test_prediction_refuses_rows_of_another_table() -> None:
    found = fitted(a_table(), {"keep": ["age"]})
    with pytest.raises(DataError, match="the rows have no column 'age'"):
        found.apply(pa.table({"x": [1]}))
    with pytest.raises(DataError, match="column 'age' holds values of type string, not numbers"):
        found.apply(pa.table({"age": ["planted"]}))
    with pytest.raises(DataError, match=r"column 'age' .* 2\*\*20"):
        found.apply(pa.table({"age": [1e12]}))


@pytest.mark.parametrize("number", [pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.bool_()])
def test_all_types_of_numbers_are_numbers(number: pa.DataType) -> None:
    column = pa.array([0, 1, None]).cast(number)
    found = preparation.as_numbers(column, "x")
    np.testing.assert_array_equal(found, [0, 1, np.nan])


def test_a_preparation_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Preparation(
        transforms=(
            Number(column="x", fill=None, low=1.0, high=2.0, log1p=True, shift=0.1, scale=3.0),
            Number(column="d", part="year", fill=2020.5, indicator=True),
            OneHot(column="c", categories=("a", "\u00e4"), other=True),
            Ordinal(column="o", order=("low", "high")),
        ),
        label_classes=("no", "yes"),
        groups=(1, 2),
        fitted_by="credit-1/00",
    )
    written.write(tmp_path)
    assert Preparation.read(tmp_path) == written


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 1}', '{"format": 2, "transforms": []}']
    + [
        json.dumps({"format": 1, "transforms": [t], "label_classes": [], "groups": []})
        for t in (
            3,
            {"kind": "odd"},
            {"kind": "number"},
            {"kind": "one_hot", "column": "x", "rows": 3},
        )
    ],
)
def test_a_damaged_preparation_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / preparation.NAME).write_text(content)
    with pytest.raises(DataError, match=r"preparation\.json is missing or damaged"):
        Preparation.read(tmp_path)
