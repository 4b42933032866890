"""The compiled package of the pipeline ``training``: what one uploads in the Kubeflow UI."""

from typing import Any

import pytest
import yaml

from pipelines import build

PACKAGE = build.COMPILED / "training.yaml"
STEPS = {"psi", "encode", "train", "evaluate", "export"}


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(PACKAGE.read_text(encoding="utf-8")))


def test_the_tasks_have_the_plain_names_of_the_steps(documents: list[dict[str, Any]]) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert {name: task["taskInfo"]["name"] for name, task in tasks.items()} == {
        step: step for step in STEPS
    }


def test_evaluate_and_export_both_follow_train_and_not_each_other(
    documents: list[dict[str, Any]],
) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    for step, other in (("evaluate", "export"), ("export", "evaluate")):
        assert "train" in tasks[step]["dependentTasks"]
        assert other not in tasks[step]["dependentTasks"]
