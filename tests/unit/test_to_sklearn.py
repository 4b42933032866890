"""A preparation by scikit-learn's own transformers does what ours did."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from skops import io
from tallystick.models import to_sklearn
from tallystick.tables.preparation import Number, OneHot, Ordinal, Preparation

OF_ALICE = Preparation(
    transforms=(
        Number(
            **{"column": "age", "fill": 40.0, "indicator": True, "low": 18.0, "high": 90.0},
            **{"log1p": True, "shift": 3.0, "scale": 0.5},
        ),
        OneHot(column="area", categories=("north", "other", "south"), other=True),
        OneHot(column="kind", categories=("a", "", "c"), other=False),
    )
)
OF_BOB = Preparation(
    transforms=(
        Number(column="age", fill=None, shift=-1.0, scale=2.0),
        Ordinal(column="size", order=("s", "m", "l")),
        Ordinal(column="only", order=("one",)),
    )
)
ALICE = {
    "age": [41.0, None, 10.0, 200.0, 18.0],
    "area": ["north", "elsewhere", None, "other", "south"],
    "kind": ["a", "c", None, "", "z"],
}
BOB = {
    "age": [1.0, 2.0, 3.0, 4.0, -5.0],
    "size": ["s", "m", "l", None, "xl"],
    "only": ["one", "one", None, "two", "one"],
}


def model(features: int, kind: str, **known: Any) -> Any:
    return SimpleNamespace(
        parameters={
            "weight": torch.linspace(-1, 1, features).double()[None],
            "bias": torch.tensor([0.25]).double(),
        },
        kind=kind,
        known={"label": {"kind": kind}, **known},
        features=[str(k) for k in range(features)],
    )


@pytest.mark.parametrize("kind", ["binary", "number"])
def test_a_pipeline_of_raw_columns_gives_the_scores_of_prepared_ones(
    kind: str, tmp_path: Path
) -> None:
    prepared_NF = np.hstack([OF_ALICE.apply(pa.table(ALICE)), OF_BOB.apply(pa.table(BOB))])
    label = {"kind": kind, "deviation": 3.0, "mean": 5.0, "names": ["bad", "good"]}
    linear = model(prepared_NF.shape[1], kind, model="linear_svm", label=label)
    to_sklearn.write(tmp_path / "m.skops", linear, {"alice": OF_ALICE, "bob": OF_BOB})
    loaded = io.load(tmp_path / "m.skops", trusted=["numpy.dtype"])
    columns = {f"alice.{k}": v for k, v in ALICE.items()}
    columns |= {f"bob.{k}": v for k, v in BOB.items()}
    frame = pa.table(columns).to_pandas()
    np.testing.assert_allclose(loaded["prepare"].transform(frame), prepared_NF, rtol=1e-12)

    scores_N = prepared_NF @ linear.parameters["weight"][0].numpy() + 0.25
    if kind == "number":
        np.testing.assert_allclose(loaded.predict(frame), scores_N * 3 + 5)
    else:
        np.testing.assert_allclose(loaded.decision_function(frame), scores_N)
        assert loaded.predict(frame).tolist() == np.where(scores_N > 0, "good", "bad").tolist()


def test_whole_numbers_are_prepared_as_others_are(tmp_path: Path) -> None:
    filled = Number(column="age", fill=40.5, indicator=True, low=18.5, high=90.0, shift=3.0)
    prepared = {"alice": Preparation(transforms=(filled,))}
    rows = pa.table({"age": [41, 10, 200, 18]})
    to_sklearn.write(tmp_path / "m.skops", model(2, "binary", model="linear_svm"), prepared)
    loaded = io.load(tmp_path / "m.skops", trusted=["numpy.dtype"])
    frame = rows.to_pandas().add_prefix("alice.")
    assert frame["alice.age"].dtype == np.int64
    found_NF = loaded["prepare"].transform(frame)
    np.testing.assert_allclose(found_NF, prepared["alice"].apply(rows), rtol=1e-12)


def test_scikit_learn_has_nothing_for_the_parts_of_a_date() -> None:
    dated = Preparation(transforms=(Number(column="since", part="year", fill=None),))
    assert to_sklearn.has_counterpart({"alice": OF_ALICE})
    assert not to_sklearn.has_counterpart({"alice": OF_ALICE, "bob": dated})
