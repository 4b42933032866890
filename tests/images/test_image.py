"""The image: who it runs as, what is in it and what is not."""

import json

import pytest
from tallystick import __version__

from tests.images.conftest import InImage, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

BUDGET_BYTES = 1_600_000_000
IMPORTS = (
    "import kfp.dsl.executor_main, matplotlib.pyplot, mlflow, onnx, pyarrow.parquet, pysodium, "
    "sklearn, tallystick.runtime.engine, torch; "
    "print(torch.__version__, torch.version.cuda, pysodium.sodium)"
)


def test_it_is_a_plain_non_root_image_with_labels(image: str) -> None:
    (about,) = json.loads(docker("image", "inspect", image).stdout)
    config = about["Config"]
    assert config["User"] == "10001:10001"
    assert not config.get("Entrypoint")
    labels = {
        key.removeprefix("org.opencontainers.image."): value
        for key, value in config["Labels"].items()
    }
    assert labels["version"] == __version__
    assert labels["licenses"] == "Apache-2.0"
    assert all(labels[name] for name in ("title", "description", "revision", "created"))


def test_everything_imports_as_any_user_on_a_read_only_root(in_image: InImage) -> None:
    torch, cuda, _ = in_image(["python3", "-c", IMPORTS]).split(maxsplit=2)
    assert torch.startswith("2.13.0")
    assert cuda == "None"
    assert __version__ in in_image(["tallystick", "--version"])
    assert "Usage" in in_image(["mlflow", "server", "--help"])


def test_it_holds_the_packages_that_one_uploads(in_image: InImage) -> None:
    code = "from tallystick.package import Package; print(Package.find('training', None).name)"
    assert in_image(["python3", "-c", code]).strip() == "training"


def test_no_build_tools_are_left(in_image: InImage) -> None:
    tools = "pip pip3 gcc cc make git curl wget"
    found = in_image(["sh", "-c", f"for tool in {tools}; do command -v $tool; done; true"])
    assert not found
    code = "import importlib.util as u; print([n for n in ('pip', 'setuptools') if u.find_spec(n)])"
    assert in_image(["python3", "-c", code]).strip() == "['setuptools']"


def test_it_lists_what_it_is_made_of(in_image: InImage) -> None:
    bill = json.loads(in_image(["cat", "/opt/tallystick/sbom.cdx.json"]))
    assert bill["bomFormat"] == "CycloneDX"
    parts = {part["name"]: part.get("version") for part in bill["components"]}
    installed = json.loads(
        in_image(
            [
                "python3",
                "-c",
                "import json, importlib.metadata as m; "
                "print(json.dumps({d.name: d.version for d in m.distributions()}))",
            ]
        )
    )
    assert parts == installed


def test_nothing_of_the_build_machine_is_in_it(in_image: InImage) -> None:
    # As root, from whom nothing is hidden: what was installed may have left its cache at home.
    looking = "ls -d /source /opt/* ~/.cache 2>/dev/null; env"
    found = in_image(["sh", "-c", looking], "--user", "0:0")
    assert found.split("\n")[0] == "/opt/tallystick"
    assert ".cache" not in found
    assert "PIP_" not in found


def test_it_stays_within_its_budget(image: str, in_image: InImage) -> None:
    size = int(docker("image", "inspect", image, "--format", "{{.Size}}").stdout)
    packages = "/opt/tallystick/lib/python3.11/site-packages"
    largest = in_image(["sh", "-c", f"du -sm {packages}/* | sort -rn | head -12"])
    print(f"{size / 1e6:.0f} MB, of which, in MB:\n{largest}")
    assert size < BUDGET_BYTES
