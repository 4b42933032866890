"""What holds for every compiled package: it loads, it explains itself, and its pods are safe."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import components
from tallystick import images

from pipelines import build, secure

PACKAGES = sorted(path.stem for path in build.COMPILED.glob("*.yaml"))
REQUIRED = {
    "direct": {"party", "session", "data", "layout", "label"},
    "intersection": {"party", "session", "data", "id_columns"},
    "training": {"party", "session", "data", "id_columns", "label"},
    "prediction": {"party", "session", "data", "id_columns", "receiver"},
    "evaluation": {"party", "session", "data", "id_columns", "label"},
    "direct-evaluation": {"party", "session", "data", "layout", "label"},
    "direct-prediction": {"party", "session", "receiver"},
    "consortium-training": {"session", "data_1", "data_2", "id_columns", "label"},
    "consortium-training-3": {"session", "data_1", "data_2", "data_3", "id_columns", "label"},
}
# The parameters of a party's pipeline by which Kubeflow finds what is the party's own.
OWN = {"identity_secret", "consortium_config", "data_claim", "checkpoint_claim"}


class Package:
    """A compiled package: the pipeline and what is said of its pods."""

    def __init__(self, name: str) -> None:
        self.path = build.COMPILED / f"{name}.yaml"
        self.spec, platform = yaml.safe_load_all(self.path.read_text(encoding="utf-8"))
        self.pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def graphs(self) -> Iterator[dict[str, Any]]:
        for component in (self.spec["root"], *self.spec["components"].values()):
            if "dag" in component:
                yield component

    def tasks(self) -> Iterator[dict[str, Any]]:
        for graph in self.graphs():
            yield from graph["dag"]["tasks"].values()

    def steps(self) -> Iterator[dict[str, Any]]:
        """The tasks that are pods."""
        for task in self.tasks():
            if "executorLabel" in self.spec["components"][task["componentRef"]["name"]]:
                yield task


@pytest.fixture(scope="module", params=PACKAGES)
def package(request: pytest.FixtureRequest) -> Package:
    return Package(request.param)


def lines(package: Path) -> list[str]:
    text = package.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("sdkVersion:")]


def test_every_compiled_package_is_what_its_recipe_says(tmp_path: Path) -> None:
    fresh = build.build(tmp_path)
    assert {path.stem for path in fresh} == {*PACKAGES}
    for path in fresh:
        assert lines(path) == lines(build.COMPILED / path.name), "run `make compile`"


def test_kfp_loads_it_and_the_form_asks_for_little(package: Package) -> None:
    loaded = components.load_component_from_file(str(package.path))
    assert loaded.name == package.path.stem
    inputs = loaded.component_spec.inputs
    asked = {name for name, declared in inputs.items() if not declared.optional}
    assert asked == REQUIRED[loaded.name]


def test_every_parameter_is_explained(package: Package) -> None:
    assert package.spec["pipelineInfo"]["description"]
    for place in (package.spec["root"], *package.spec["components"].values()):
        for name, declared in place["inputDefinitions"]["parameters"].items():
            # What KFP adds for an image or a limit that is chosen at run time.
            if not name.startswith("pipelinechannel--"):
                assert declared.get("description"), name


def test_no_task_may_be_answered_from_the_cache(package: Package) -> None:
    assert not any(task["cachingOptions"].get("enableCache") for task in package.tasks())


def test_a_pod_that_dies_is_started_again_and_every_pod_ends_some_day(package: Package) -> None:
    for task in package.steps():
        policy = task["retryPolicy"]
        training = task["taskInfo"]["name"] == "train"
        assert policy["maxRetryCount"] == (20 if training else 4)
        # Longer than a pod may run: Argo counts from the first attempt's start, and KFP's default
        # of an hour would have a longer training never retried.
        longest = max(int(pod["activeDeadlineSeconds"]) for pod in package.pods.values())
        assert int(policy["backoffMaxDuration"].removesuffix("s")) > longest
    assert all(int(pod["activeDeadlineSeconds"]) > 0 for pod in package.pods.values())


def test_every_task_runs_the_image_that_is_asked_for_and_installs_nothing(
    package: Package,
) -> None:
    assert package.spec["root"]["inputDefinitions"]["parameters"]["image"]["defaultValue"] == (
        images.PARTY
    )
    for executor in package.spec["deploymentSpec"]["executors"].values():
        container = executor["container"]
        for value, parameter in (
            (container["image"], "image"),
            (container["resources"]["resourceCpuLimit"], "cpu_limit"),
            (container["resources"]["resourceMemoryLimit"], "memory_limit"),
        ):
            assert value == f"{{{{$.inputs.parameters['pipelinechannel--{parameter}']}}}}"
        assert "pip install" not in " ".join(container["command"])


def test_every_pod_is_labelled_and_no_ones_root(package: Package) -> None:
    assert set(package.pods) == set(package.spec["deploymentSpec"]["executors"])
    for pod in package.pods.values():
        assert pod["podMetadata"]["labels"] == secure.LABELS
        assert pod["securityContext"] == {"runAsNonRoot": True}
        assert [folder["mountPath"] for folder in pod["emptyDirMounts"]] == ["/tmp"]


def test_every_pod_gets_its_own_partys_key_tables_and_consortium_file(package: Package) -> None:
    for name, pod in package.pods.items():
        (secret,), (config,) = pod["secretAsVolume"], pod["configMapAsVolume"]
        (tracking,) = pod["configMapAsEnv"]
        mounted = {
            secret["secretNameParameter"]["componentInputParameter"]: secret["mountPath"],
            config["configMapNameParameter"]["componentInputParameter"]: config["mountPath"],
        } | {
            claim["pvcNameParameter"]["componentInputParameter"]: claim["mountPath"]
            for claim in pod["pvcMount"]
        }
        # Checkpoints are train's alone.
        assert set(mounted) == OWN - ({"checkpoint_claim"} if "-train" not in name else set())
        # One mounted inside of another, which is read-only, could not be.
        assert not any(
            a != b and a.startswith(b) for a in mounted.values() for b in mounted.values()
        )
        assert tracking["optional"]
        assert tracking["keyToEnv"] == [
            {"configMapKey": "mlflow-tracking-uri", "envVar": "MLFLOW_TRACKING_URI"}
        ]


@pytest.mark.parametrize(("name", "parties"), [("", 2), ("-3", 3)])
def test_the_parties_of_one_cluster_run_side_by_side_with_their_own_things(
    name: str, parties: int
) -> None:
    package = Package(f"consortium-training{name}")
    tasks = package.spec["root"]["dag"]["tasks"].values()
    assert len(tasks) == parties
    for number, task in enumerate(tasks, 1):
        assert "dependentTasks" not in task
        given = {
            name: source["componentInputParameter"]
            for name, source in task["inputs"]["parameters"].items()
        }
        own = {*OWN, "party", "data"}
        assert {given[name] for name in own} == {f"{name}_{number}" for name in own}
        assert all(given[name] == name for name in given.keys() - own)
