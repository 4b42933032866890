"""The pipeline ``intersection``: its package, and what a run of it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from kfp import components

from pipelines import build

PACKAGE = build.COMPILED / "intersection.yaml"


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(PACKAGE.read_text(encoding="utf-8")))


def test_the_package_loads_back_and_asks_for_little() -> None:
    loaded = components.load_component_from_file(str(PACKAGE))
    assert loaded.name == "intersection"
    assert {"party", "session", "data", "id_columns"} == {
        name for name, declared in loaded.component_spec.inputs.items() if not declared.optional
    }


def test_its_one_task_is_never_cached_and_ends_some_day(documents: list[dict[str, Any]]) -> None:
    (task,) = documents[0]["root"]["dag"]["tasks"].values()
    assert task["taskInfo"]["name"] == "psi"
    assert not task["cachingOptions"].get("enableCache", False)
    (executor,) = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values()
    assert int(executor["activeDeadlineSeconds"]) > 0


def test_every_parameter_is_explained(documents: list[dict[str, Any]]) -> None:
    for place in [documents[0]["root"], *documents[0]["components"].values()]:
        for name, declared in place["inputDefinitions"]["parameters"].items():
            assert declared.get("description"), name


@pytest.mark.timeout(180)
@pytest.mark.parametrize("protocol", ["aided", "ecdh"])
def test_a_run_leaves_each_party_its_aligned_rows(tmp_path: Path, protocol: str) -> None:
    rng = np.random.default_rng(5)
    names = [f"{number:018}" for number in rng.choice(10**15, size=1500, replace=False)]
    for party, first in (("alice", 0), ("bob", 500)):
        own = rng.permutation(names[first : first + 1000])
        pd.DataFrame({"id": own, party: np.arange(1000)}).to_csv(
            tmp_path / f"{party}.csv", index=False
        )
    job = {
        "session": "share-1",
        "pipeline": "intersection",
        "parties": {party: {"data": f"{party}.csv"} for party in ("alice", "bob")},
        "dealer": "notary",
        "params": {"id_columns": ["id"], "protocol": protocol},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job, sort_keys=False))
    command = [sys.executable, "-m", "tallystick.cli", "run", "job.yaml", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["status"], summary["rows_matched"]) == ("succeeded", 500)
    tables = [pd.read_parquet(tmp_path / "out" / p / "aligned.parquet") for p in ("alice", "bob")]
    assert tables[0]["id"].tolist() == tables[1]["id"].tolist()
    assert set(tables[0]["id"]) == set(names[500:1000])
    assert "1000 rows, 1000 different ids, they look like 9{18} (100%)" in done.stdout
