"""The command: what it teaches, and with which code it ends."""

import subprocess
import sys
from pathlib import Path

import pytest
import tallystick
from tallystick import local, side
from tallystick.cli import app
from tallystick.job import EXAMPLE, SIDE_EXAMPLE
from tallystick.local.failures import Failure
from typer.testing import CliRunner

runner = CliRunner()


def summary(folder: Path, error: Failure | None = None) -> local.Summary:
    return local.Summary(
        session="s",
        folder=folder,
        rows_matched=12,
        metrics={} if error else {"auc": 0.98765},
        seconds={"psi": 1.0},
        error=error,
    )


@pytest.fixture
def job(tmp_path: Path) -> Path:
    from tallystick.job import EXAMPLE

    (tmp_path / "job.yaml").write_text(EXAMPLE)
    return tmp_path / "job.yaml"


def test_help_shows_a_whole_job_file() -> None:
    text = runner.invoke(app, ["run", "--help"], env={"COLUMNS": "100"}).output
    assert "alice: {data: guest.csv}" in text
    assert "id_columns: [id]" in text


def test_help_shows_a_whole_side_of_a_service_which_serve_takes(tmp_path: Path) -> None:
    text = runner.invoke(app, ["serve", "--help"], env={"COLUMNS": "100"}).output
    assert "listen: 127.0.0.1:8080" in text
    (tmp_path / "side.yaml").write_text(SIDE_EXAMPLE)
    loaded = side.load(tmp_path / "side.yaml")
    assert loaded["trained"] == str(tmp_path / "trained")
    assert loaded["reveals"] == str(tmp_path / "serve-1-clinic-reveals.md")
    assert loaded["listen"] == "127.0.0.1:8080"


def test_a_slip_in_a_side_of_a_service_is_one_line_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "side.yaml").write_text(SIDE_EXAMPLE + "windows_ms: 5\n")
    result = runner.invoke(app, ["serve", str(tmp_path / "side.yaml")])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert "unknown key 'windows_ms'; did you mean 'window_ms'?" in line


def test_the_version_is_the_packages() -> None:
    assert runner.invoke(app, ["--version"]).output == f"tallystick {tallystick.__version__}\n"


def test_help_does_not_wait_for_kfp_or_torch() -> None:
    code = (
        "import sys; import tallystick.cli; "
        "print([m for m in ('kfp', 'torch', 'mlflow', 'sklearn', 'crypten') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_wrong_job_is_one_line_and_code_2(tmp_path: Path) -> None:
    result = runner.invoke(app, ["run", str(tmp_path / "none.yaml")])
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("ConfigError: ")


def test_results_go_beside_the_job_by_default(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outs = []

    def run(_: object, out: Path, console: object, **options: object) -> local.Summary:
        outs.append(out)
        return summary(out)

    monkeypatch.setattr(local, "run", run)
    result = runner.invoke(app, ["run", str(job)])
    assert outs == [job.parent / "runs" / "credit-1"]
    assert result.exit_code == 0


def test_a_good_run_shows_metrics_and_where_to_look(
    job: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = job.parent / "the out"
    (out / "alice").mkdir(parents=True)
    for name in ("summary.json", "alice/report.html", "alice/mlflow.db"):
        (out / name).touch()
    monkeypatch.setattr(local, "run", lambda *_, **__: summary(out))
    text = runner.invoke(app, ["run", str(job), "--out", str(out)]).output
    assert "0.9877" in text
    assert f"{out}/alice/report.html" in text
    assert f"mlflow ui --backend-store-uri 'sqlite:///{out}/alice/mlflow.db'" in text
    assert "reveals.json" not in text  # it is not there


def test_a_failed_run_says_who_where_and_why(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = Failure(party="bob", step="psi", kind="DataError", message="bad [id]", exit_code=3)
    monkeypatch.setattr(local, "run", lambda *_, **__: summary(job.parent, error))
    result = runner.invoke(app, ["run", str(job)])
    assert result.exit_code == 3
    first, second = result.stderr.strip().splitlines()
    assert first == "DataError at bob, step psi: bad [id]"
    assert second.startswith("The run failed.")


def test_keygen_makes_an_identity_once(tmp_path: Path) -> None:
    arguments = ["keygen", "alice", "--out", str(tmp_path / "alice")]
    assert runner.invoke(app, arguments).exit_code == 0
    assert sorted(p.name for p in (tmp_path / "alice").iterdir()) == ["tls.crt", "tls.key"]
    again = runner.invoke(app, arguments)
    assert again.exit_code == 2
    assert "never overwritten" in again.stderr


def test_the_dealer_refuses_a_missing_consortium(tmp_path: Path) -> None:
    arguments = ["--consortium", str(tmp_path / "none.yaml"), "--identity", str(tmp_path)]
    assert runner.invoke(app, ["dealer", *arguments]).exit_code == 2


def test_estimate_tells_the_cost_of_a_training_without_anybody(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(EXAMPLE)
    one, two = (
        CliRunner().invoke(app, ["estimate", str(job), "--rows", rows, "--features", "9"])
        for rows in ("1280", "2560")
    )
    assert one.exit_code == two.exit_code == 0, one.output

    def rounds(output: str) -> int:
        (line,) = (line for line in output.splitlines() if line.startswith("rounds"))
        return int(line.split()[1].replace(",", ""))

    # Twice the batches: twice their rounds, and those at the end of an epoch once.
    assert 1.5 * rounds(one.output) < rounds(two.output) < 2 * rounds(one.output)
    assert "time, all on this machine" in one.output
