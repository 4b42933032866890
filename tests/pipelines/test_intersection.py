"""The pipeline ``intersection``: its package, and what a run of it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml


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
