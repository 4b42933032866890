"""``tallystick parity`` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e import patients, running

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("model", ["logistic_regression", "linear_svm", "linear_regression", "mlp"])
def test_secure_and_plaintext_runs_agree(
    tables: patients.Tables, model: str, tmp_path: Path
) -> None:
    tables.write(tmp_path)
    params = {"model": model, "epochs": 5, "l2": 0.01, "learning_rate": 0.05, "threshold": 0.4}
    if model == "mlp":
        params["group"] = tables.of["bob"].columns[1]
        params |= {"optimiser": "adam", "learning_rate": 0.005, "schedule": "cosine", "l1": 0.001}
    job = running.write_job(tmp_path, params=params)
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "tallystick.cli",
            "parity",
            str(job),
            "--out",
            "found",
            "--rows",
            "1000",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((tmp_path / "found" / "parity.json").read_text())
    assert found["holds"]
    page = (tmp_path / "found" / "alice" / "report.html").read_text()
    assert ("By group" in page) == (model == "mlp")
    assert len(found["metrics"]) >= (5 if model == "linear_regression" else 10)
    for name, values in found["metrics"].items():
        assert f" {name} " in ended.stdout
        assert values["secure"] == pytest.approx(values["same_model_in_plaintext"], rel=0.02)
