"""Encode beyond two parties' columns: three parties, different rows, images, splits by an owner.

What the parties' shares add up to is compared with scikit-learn's transformers on all rows, which
in earnest nobody has side by side.
"""

import datetime
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from PIL import Image
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from tallystick.runtime.engine import PRECISION_BITS
from tallystick.tables import shares
from tallystick.tables.preparation import Preparation

from tests.e2e import running, steps

pytestmark = pytest.mark.timeout(300)
ROUNDING = 2.0 ** -(PRECISION_BITS + 1) + 1e-9
JOINT_ROUNDING = ROUNDING + 1e-6
"""Where mean and deviation are opened as sums of rounded numbers, too."""
DIRECT = {"aligned": None, "id_columns": []}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[steps.Site]:
    with steps.site(tmp_path_factory.mktemp("three"), parties=3) as site:
        yield site


class Encoded:
    """What the parties' shares add up to."""

    def __init__(self, session: steps.Session) -> None:
        self.session = session
        read = {party: shares.read(session.of(party) / "shares") for party in session.parties}
        self.data = next(iter(read.values()))
        self.joint = self.data.manifest.joint
        assert all(one.manifest.joint == self.joint for one in read.values())
        rows = np.arange(self.joint["rows"])
        self.features = self._sum([one.features(rows) for one in read.values()])
        self.label = self._sum([one.label(rows) for one in read.values()])
        groups = [one.group(rows) for one in read.values()]
        self.group = self._sum([one for one in groups if one is not None])

    def _sum(self, parts: list[torch.Tensor]) -> np.ndarray:
        return np.asarray(sum(parts, torch.zeros(1, dtype=torch.int64)) / 2**PRECISION_BITS)

    def preparation(self, party: str) -> Preparation:
        return Preparation.read(self.session.of(party) / "shares")


def encode(
    site: steps.Site,
    folder: Path,
    tables: Mapping[str, pd.DataFrame | Path],
    *,
    own: Mapping[str, Mapping[str, Any]] | None = None,
    **arguments: Any,
) -> Encoded:
    """Run encode on tables that need no matching."""
    session = steps.Session(site, folder, folder.name[:60])
    session.write({p: t for p, t in tables.items() if isinstance(t, pd.DataFrame)})
    changes = {}
    for party, table in tables.items():
        session.of(party).mkdir(parents=True, exist_ok=True)
        place = table if isinstance(table, Path) else session.of(party) / "data.csv"
        changes[party] = {**DIRECT, "data": place, **arguments, **(own or {}).get(party, {})}
    sides = session.run("encode", changes=changes)
    for party, side in sides.items():
        assert side.exit_code == 0, f"{party}:\n{side.log}"
    return Encoded(session)


def customers(rows: int, seed: int) -> pd.DataFrame:
    """An ordinary table: gaps, categories, dates, a constant column and an empty one."""
    rng = np.random.default_rng(seed)
    region = rng.choice(["north", "south", "east", "west"], rows, p=[0.5, 0.3, 0.19, 0.01])
    day = datetime.date(2019, 1, 1)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows).astype(float),
            "income": rng.lognormal(10, 1, rows),
            "rate": rng.normal(0, 1e-3, rows),
            "region": region,
            "opened": [day + datetime.timedelta(int(d)) for d in rng.integers(0, 900, rows)],
            "constant": 7,
            "nothing": np.nan,
            "y": rng.choice(["good", "bad"], rows),
        }
    )
    for name in ("age", "income", "region"):
        table.loc[rng.random(rows) < 0.1, name] = np.nan
    return table


def joined_oracle(table: pd.DataFrame, train: np.ndarray, indicator: bool) -> np.ndarray:
    """scikit-learn's ColumnTransformer, fitted by the training rows of the joined table."""
    frame = table.copy()
    frame["region"] = frame["region"].fillna("").astype(object)
    opened = pd.to_datetime(frame["opened"])
    for part in ("year", "month", "day", "day_of_week"):
        frame[part] = getattr(opened.dt, part).astype(float)
    number = make_pipeline(SimpleImputer(), StandardScaler())
    income = make_pipeline(SimpleImputer(), FunctionTransformer(np.log1p), StandardScaler())
    one_hot = OneHotEncoder(
        min_frequency=0.05, handle_unknown="infrequent_if_exist", sparse_output=False
    )
    oracle = ColumnTransformer(
        [
            ("age", number, ["age"]),
            *([("gaps", FunctionTransformer(np.isnan), ["age"])] if indicator else []),
            ("income", income, ["income"]),
            ("rate", number, ["rate"]),
            ("region", one_hot, ["region"]),
            ("opened", number, ["year", "month", "day", "day_of_week"]),
        ]
    )
    return np.asarray(oracle.fit(frame.iloc[train]).transform(frame), dtype=float)


RULES = {
    "numbers": {"fill": "mean"},
    "columns": {
        "age": {"indicator": True},
        "income": {"log1p": True},
        "region": {"rare": 0.05, "announce": True},
    },
}


def test_three_parties_with_different_rows_prepare_as_one(
    three: steps.Site, tmp_path: Path
) -> None:
    parties = three.place.parties
    tables = {party: customers(90 + 40 * rank, rank) for rank, party in enumerate(parties)}
    # Columns in another order are the same columns.
    tables["carol"] = tables["carol"][tables["carol"].columns[::-1]]
    for party, table in tables.items():
        table.insert(0, "id", [f"{party} {number}" for number in range(len(table))])
    found = encode(
        three,
        tmp_path,
        tables,
        layout="horizontal",
        id_columns=["id"],
        preparation=RULES,
        label_classes=["good", "bad"],
        validation_fraction=0.2,
    )
    joined = pd.concat(tables.values(), ignore_index=True)
    expected = joined_oracle(joined, found.data.train_rows, indicator=True)
    np.testing.assert_allclose(found.features, expected, atol=JOINT_ROUNDING)
    assert (found.label == (joined["y"] == "bad")).all()
    counts = [len(tables[party]) for party in parties]
    assert [entry["rows"] for entry in found.joint["row_ranges"]] == counts
    assert [entry["owner"] for entry in found.joint["row_ranges"]] == list(parties)
    assert len({found.preparation(party) for party in parties}) == 1
    assert len(found.data.validation_rows) == round(sum(counts) * 0.2)
    # What was opened stands in the ledger: sums, bits and names, and no more.
    opened = {entry["what"] for entry in found.data.manifest.history[-1]["reveals"]}
    assert opened == {
        "parts of the rows that have a value, and sums of the values, of each number",
        "mean of each number, filled and transformed",
        "variance of each number, filled and transformed",
        "names of categories that are common at a party",
        "whether each category is common",
        "whether each column has other categories",
        "names of the label's classes",
    }


def test_three_parties_with_different_columns_prepare_as_one_and_unseen_rows_replay_it(
    three: steps.Site, tmp_path: Path
) -> None:
    whole = customers(200, 7)
    whole.insert(0, "id", [f"r{i}" for i in range(200)])
    columns = {"alice": ["age", "constant"], "bob": ["income", "rate", "nothing"]}
    columns["carol"] = ["opened", "segment", "y"]
    whole["segment"] = np.random.default_rng(2).choice(["small", "large", "public"], 200)
    tables = {party: whole[["id", *names]] for party, names in columns.items()}
    own = {
        party: {
            "preparation": {
                "columns": {n: dict(r) for n, r in RULES["columns"].items() if n in columns[party]}
            }
        }
        for party in columns
    }
    found = encode(
        three, tmp_path, tables, own=own, id_columns=["id"], split_by="stratify", group="segment"
    )
    expected = joined_oracle(whole, found.data.train_rows, indicator=True)
    names = [column["name"] for column in found.joint["columns"]]
    assert not any("segment" in name for name in names), "the group column is no feature"
    # All but the region, which nobody brought.
    kept = np.r_[0:4, expected.shape[1] - 4 : expected.shape[1]]
    np.testing.assert_allclose(found.features, expected[:, kept], atol=ROUNDING)
    assert found.joint["group"] == {"name": "segment", "owner": "carol", "groups": 3}
    groups = sorted(set(whole["segment"]))
    assert (found.group == (whole[["segment"]].to_numpy() == groups)).all()
    # Unseen rows, each party's own.
    unseen = customers(30, 8)
    replayed = [
        found.preparation(party).apply(pa.Table.from_pandas(unseen, preserve_index=False))
        for party in columns
    ]
    both = joined_oracle(pd.concat([whole, unseen]), found.data.train_rows, indicator=True)
    np.testing.assert_allclose(np.hstack(replayed), both[200:, kept], atol=1e-9)
    # Each part has the same portion of the rare class, though nobody but carol knows the classes.
    bad = (whole["y"] == "good").to_numpy()
    portions = [bad[rows].mean() for rows in (found.data.train_rows, found.data.test_rows)]
    assert abs(portions[0] - portions[1]) < 0.02


def test_other_columns_are_named_where_rows_are_different(
    three: steps.Site, tmp_path: Path
) -> None:
    tables = {party: customers(40, 1) for party in three.place.parties}
    tables["bob"] = tables["bob"].rename(columns={"age": "years"})
    tables["carol"]["rate"] = "text"
    session = steps.Session(three, tmp_path, "differ")
    session.write(tables)
    changes = {
        party: {
            **DIRECT,
            "layout": "horizontal",
            # Otherwise carol's texts would be refused at once, before she hears of the others.
            "preparation": {"drop": ["region"], "categories": {"announce": True}},
            "label_classes": ["good", "bad"],
            "data": session.of(party) / "data.csv",
        }
        for party in tables
    }
    sides = session.run("encode", changes=changes)
    for side in sides.values():
        said = side.event("failed")["message"]
        assert "'age' is missing at 'bob'; 'years' is missing at 'alice'" in said
        assert "'rate' is a number at 'alice' and a category at 'carol'" in said


def test_the_latest_rows_test_where_one_party_knows_the_time(
    three: steps.Site, tmp_path: Path
) -> None:
    data = load_breast_cancer(as_frame=True)
    features = data.data.iloc[:200]
    tables = {
        party: features.iloc[:, 10 * rank : 10 * rank + 10].copy()
        for rank, party in enumerate(three.place.parties)
    }
    tables["alice"]["y"] = data.target.iloc[:200]
    when = np.random.default_rng(0).permutation(200)
    day = datetime.date(2020, 1, 1)
    tables["bob"]["seen"] = [day + datetime.timedelta(int(d)) for d in when]
    found = encode(
        three,
        tmp_path,
        tables,
        split_by="time",
        split_column="seen",
        test_fraction=0.25,
        validation_fraction=0.1,
    )
    assert set(found.data.test_rows) == set(np.flatnonzero(when >= 150))
    assert set(found.data.validation_rows) == set(np.flatnonzero((when >= 130) & (when < 150)))
    scaler = StandardScaler().fit(features.iloc[found.data.train_rows])
    np.testing.assert_allclose(found.features, scaler.transform(features), atol=ROUNDING)
    # On which a model learns what it learns in plaintext.
    model = LogisticRegression().fit(
        found.features[found.data.train_rows], found.label[found.data.train_rows]
    )
    test = found.data.test_rows
    assert roc_auc_score(found.label[test], model.decision_function(found.features[test])) > 0.97


def test_images_here_and_their_labels_there(three: steps.Site, tmp_path: Path) -> None:
    digits = load_digits()
    pixels = (digits.images[:120] * 15.9).astype(np.uint8)
    np.savez(tmp_path / "images.npz", images=pixels)
    nothing = tmp_path / "labels.npy"
    np.save(nothing, digits.target[:120])
    tables = {
        "alice": tmp_path / "images.npz",
        "bob": nothing,
        "carol": pd.DataFrame({"constant": np.ones(120)}),
    }
    images = {"mean": 0.25, "deviation": 0.5}
    found = encode(
        three, tmp_path / "out", tables, own={"alice": {"images": images}}, label_kind="classes"
    )
    assert found.joint["feature_shape"] == [1, 8, 8]
    assert found.joint["label"]["kind"] == "classes"
    expected = (pixels / 255 - 0.25) / 0.5
    np.testing.assert_allclose(found.features, expected[:, None], atol=ROUNDING)
    assert (found.label == np.eye(10)[digits.target[:120]]).all()


def test_images_that_a_column_names_stand_in_the_order_of_ids(
    three: steps.Site, tmp_path: Path
) -> None:
    digits = load_digits()
    pixels = (digits.images[:30] * 15.9).astype(np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / f"scan-{number}.png")
    order = np.random.default_rng(0).permutation(30)
    ids = [f"patient {n}" for n in order]
    tables = {
        "alice": pd.DataFrame({"id": ids, "scan": [f"scan-{n}.png" for n in order]}),
        "bob": pd.DataFrame({"id": ids, "y": digits.target[order] > 4}),
        "carol": pd.DataFrame({"id": ids}),
    }
    images = {"folder": str(tmp_path), "column": "scan", "size": [4, 4]}
    found = encode(
        three, tmp_path / "out", tables, own={"alice": {"images": images}}, id_columns=["id"]
    )
    assert found.joint["feature_shape"] == [1, 4, 4]
    small = [
        np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BILINEAR)) / 255
        for image in pixels[order]
    ]
    np.testing.assert_allclose(found.features[:, 0], small, atol=ROUNDING)
    assert (found.label == (digits.target[order] > 4)).all()


@pytest.mark.parametrize("spoilt", ["order", "count"])
def test_rows_that_are_not_the_same_are_refused_instead_of_training_on_noise(
    three: steps.Site, tmp_path: Path, spoilt: str
) -> None:
    whole = customers(40, 3)
    whole.insert(0, "id", [f"planted{i}" for i in range(40)])
    tables = {
        "alice": whole[["id", "age", "y"]],
        "bob": whole[["id", "income"]],
        "carol": whole[["id", "rate"]],
    }
    if spoilt == "order":
        tables["bob"] = tables["bob"].sample(frac=1, random_state=1)
    else:
        tables["bob"] = tables["bob"].iloc[:-1]
    session = steps.Session(three, tmp_path, spoilt)
    session.write(tables)
    changes = {
        party: {**DIRECT, "id_columns": ["id"], "data": session.of(party) / "data.csv"}
        for party in tables
    }
    sides = session.run("encode", changes=changes)
    words = "not the same rows in the same order" if spoilt == "order" else "'bob' has 39"
    for party, side in sides.items():
        assert words in side.event("failed")["message"]
        assert "planted" not in side.log
        assert not (session.of(party) / "shares").exists()


@pytest.mark.slow
def test_the_job_direct_trains_on_rows_of_two_parties(tmp_path: Path) -> None:
    data = load_breast_cancer(as_frame=True).frame.sample(frac=1, random_state=3)
    for party, rows in (("alice", slice(0, 250)), ("bob", slice(250, None))):
        data.iloc[rows].to_csv(tmp_path / f"{party}.csv", index=False)
    params = {
        "id_columns": [],
        "layout": "horizontal",
        "label": "target",
        "label_classes": ["0", "1"],
        "model": "logistic_regression",
    }
    ended = running.run(
        running.write_job(tmp_path, params=params, pipeline="direct"), tmp_path / "out"
    )
    assert ended.exit_code == 0, ended.stdout + ended.stderr
    assert ended.summary["metrics"]["auc"] > 0.98
