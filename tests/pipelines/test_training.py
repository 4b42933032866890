"""The compiled package of the pipeline ``training``: what one uploads in the Kubeflow UI."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components
from tallystick import images

from pipelines import build

PACKAGE = build.COMPILED / "training.yaml"
STEPS = {"psi", "encode", "train", "evaluate", "export"}


def lines(package: Path) -> list[str]:
    text = package.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("sdkVersion:")]


@pytest.fixture(scope="module")
def documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(PACKAGE.read_text(encoding="utf-8")))


def test_every_compiled_package_is_what_its_recipe_says(tmp_path: Path) -> None:
    fresh = build.build(tmp_path)
    assert {package.name for package in fresh} == {
        package.name for package in build.COMPILED.glob("*")
    }
    for package in fresh:
        assert lines(package) == lines(build.COMPILED / package.name), "run `make compile`"


def test_the_package_loads_back(documents: list[dict[str, Any]]) -> None:
    loaded = components.load_component_from_file(str(PACKAGE))
    assert loaded.name == "training"
    assert {"party", "session", "data", "id_columns", "label", "model"} == {
        name for name, declared in loaded.component_spec.inputs.items() if not declared.optional
    }


def test_the_tasks_have_the_plain_names_of_the_steps(documents: list[dict[str, Any]]) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    assert {name: task["taskInfo"]["name"] for name, task in tasks.items()} == {
        step: step for step in STEPS
    }


def test_no_task_may_be_answered_from_the_cache(documents: list[dict[str, Any]]) -> None:
    for task in documents[0]["root"]["dag"]["tasks"].values():
        assert not task["cachingOptions"].get("enableCache", False)


def test_every_task_ends_some_day(documents: list[dict[str, Any]]) -> None:
    executors = documents[1]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(executors) == {f"exec-{step}" for step in STEPS}
    assert all(int(executor["activeDeadlineSeconds"]) > 0 for executor in executors.values())


def test_evaluate_and_export_both_follow_train_and_not_each_other(
    documents: list[dict[str, Any]],
) -> None:
    tasks = documents[0]["root"]["dag"]["tasks"]
    for step, other in (("evaluate", "export"), ("export", "evaluate")):
        assert "train" in tasks[step]["dependentTasks"]
        assert other not in tasks[step]["dependentTasks"]


def test_every_task_runs_the_one_image_and_installs_nothing(
    documents: list[dict[str, Any]],
) -> None:
    for executor in documents[0]["deploymentSpec"]["executors"].values():
        assert executor["container"]["image"] == images.PARTY
        assert "pip install" not in " ".join(executor["container"]["command"])


def test_every_parameter_is_explained(documents: list[dict[str, Any]]) -> None:
    specification = documents[0]
    places = [specification["root"], *specification["components"].values()]
    for place in places:
        for name, declared in place["inputDefinitions"]["parameters"].items():
            assert declared.get("description"), name
