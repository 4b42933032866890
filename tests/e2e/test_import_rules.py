"""``make lint`` holds the table of who may import whom: a planted import fails it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in ("components", "pipelines"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    return folder


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).parent / "lint-imports"
    path = os.pathsep.join([str(folder), str(folder / "components")])
    return subprocess.run(
        [str(command), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_package_keeps_its_rules(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("components/tallystick/runtime/ledger.py", "kfp"),
        ("components/tallystick/runtime/dealer/server.py", "mlflow"),
        ("components/tallystick/runtime/session.py", "tallystick.tables.ids"),
        ("components/tallystick/train/linear.py", "crypten"),
        ("components/tallystick/tables/split.py", "tallystick.psi.aided"),
        ("components/tallystick/encode/step.py", "tallystick.psi.step"),
        ("components/tallystick/evaluate/binary.py", "mlflow"),
        ("components/tallystick/train/step.py", "kfp"),
        ("components/tallystick/psi/component.py", "torch"),
        ("pipelines/training.py", "mlflow"),
        ("pipelines/training.py", "tallystick.runtime.session"),
    ],
)
def test_a_planted_import_fails_the_lint(copy: Path, module: str, planted: str) -> None:
    path = copy / module
    clean = path.read_text()
    # After the imports that are there, inside none of them.
    path.write_text(f"{clean}\n\nimport {planted}  # planted\n")
    try:
        result = lint(copy)
    finally:
        path.write_text(clean)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
    source = module.removeprefix("components/").removesuffix(".py").replace("/", ".")
    assert f"{source} -> {planted}" in result.stdout
