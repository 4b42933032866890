"""Models from files: each format gives the scores of the module; what cannot be read is named."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from tallystick.models import folding, from_file, owned, plain
from tallystick.models.graph import Graph
from tallystick.models.networks import NETWORKS
from tallystick.runtime.errors import ConfigError, DataError
from torch import Tensor, nn

from tests import vision

SMALL = ("resnet18", "mobilenet_v2", "squeezenet1_1", "densenet121")
LARGE = ("alexnet", "vgg16", "resnet50")


def to_onnx(module: nn.Module, example: Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            (example,),
            str(path),
            dynamo=False,
            dynamic_axes={"x": {0: "n"}},
            input_names=["x"],
            opset_version=17,
        )


def to_pt2(module: nn.Module, example: Tensor, path: Path) -> None:
    shapes = ({0: torch.export.Dim("rows", min=2)},)
    torch.export.save(torch.export.export(module, (example,), dynamic_shapes=shapes), path)


WRITERS = {".onnx": to_onnx, ".pt2": to_pt2}


def check_same(graph: Graph, parameters: dict[str, Tensor], module: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        expected = module.double()(x.double())
        found = plain.run(graph, parameters, x.double())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert (found.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize(
    ("name", "side"),
    [
        *((name, 64) for name in SMALL),
        *(pytest.param(name, 224, marks=pytest.mark.slow) for name in LARGE),
    ],
)
def test_a_vision_network_survives_its_file_and_the_folding(
    name: str, side: int, suffix: str, tmp_path: Path
) -> None:
    module, x = vision.network(name), vision.images(2, side)
    WRITERS[suffix](module, x, tmp_path / f"model{suffix}")
    graph, parameters = from_file.read(tmp_path / f"model{suffix}", "", (3, side, side))
    check_same(graph, parameters, module, x)
    operations = [node.op for node in graph.nodes]
    assert not {"batch_norm", "dropout"} & set(operations)
    # DenseNet normalises before each convolution; all others after, where it is folded away.
    assert ("affine" in operations) == (name == "densenet121")
    assert Graph.from_json(graph.as_json()) == graph


def saved(folder: Path, suffix: str) -> tuple[Path, nn.Module]:
    module = NETWORKS["tfe_network_b"]((1, 28, 28), 10).eval()
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(module.state_dict(), path)
    else:
        torch.save(module.state_dict(), path)
    return path, module


@pytest.mark.parametrize("suffix", from_file.STATE_DICTS)
def test_a_state_dict_of_a_known_architecture_is_read(suffix: str, tmp_path: Path) -> None:
    path, module = saved(tmp_path, suffix)
    graph, parameters = from_file.read(path, "tfe_network_b", (1, 28, 28))
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    check_same(graph, parameters, module, x)


def test_weights_of_another_architecture_are_named(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, ".safetensors")
    with pytest.raises(ConfigError, match=r"tfe_network_c: .*; conv1.bias has the shape \[16\]"):
        from_file.read(path, "tfe_network_c", (1, 28, 28))
    with pytest.raises(ConfigError, match=r"weights of mlp: fc3\.weight is missing"):
        from_file.read(path, "mlp", (1, 28, 28))
    with pytest.raises(ConfigError, match="architecture must name the network whose weights it"):
        from_file.read(path, "", (1, 28, 28))


class Trap:
    """What a pickle with code in it looks like."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return (Path.touch, (Path("trapped"),))  # type: ignore[return-value]


@pytest.mark.parametrize("write", [pickle.dump, torch.save])
def test_a_pickle_with_code_in_it_is_refused_unread(
    write: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "model.pt").open("wb") as file:
        write({"fc.weight": Trap()}, file)
    with pytest.raises(DataError, match=r"model.pt is a pickle with more in it than tensors"):
        from_file.read(tmp_path / "model.pt", "mlp", (4,))
    assert not Path("trapped").exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 1), tmp_path / "model.pth")
    with pytest.raises(DataError, match=r"pickle with more in it than tensors"):
        from_file.read(tmp_path / "model.pth", "mlp", (2,))


def test_a_program_with_pickled_weights_is_refused(tmp_path: Path) -> None:
    import json
    import zipfile

    module = nn.Sequential(nn.Linear(3, 2))
    to_pt2(module, torch.zeros(4, 3), tmp_path / "model.pt2")
    with (
        zipfile.ZipFile(tmp_path / "model.pt2") as old,
        zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name.endswith("weights_config.json"):
                config = json.loads(content)
                config["config"]["0.weight"]["use_pickle"] = True
                content = json.dumps(config).encode()
            new.writestr(name, content)
    with pytest.raises(DataError, match=r"the weight '0.weight' is stored as a pickle"):
        from_file.read(tmp_path / "bad.pt2", "", (3,))


@pytest.mark.parametrize("suffix", WRITERS)
def test_scores_are_what_stands_before_the_last_function_of_a_file(
    suffix: str, tmp_path: Path
) -> None:
    module = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid(), nn.Flatten(0)).eval()
    x = torch.randn(5, 4)
    WRITERS[suffix](module, x, tmp_path / f"model{suffix}")
    graph, parameters = from_file.read(tmp_path / f"model{suffix}", "", (4,))
    assert graph.final == "sigmoid"
    check_same(graph, parameters, module[0], x)
    owned.require_classes(graph)


def test_probabilities_that_would_be_found_otherwise_are_refused(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.Sigmoid()).eval()
    to_onnx(module, torch.zeros(2, 4), tmp_path / "model.onnx")
    graph, _ = from_file.read(tmp_path / "model.onnx", "", (4,))
    with pytest.raises(ConfigError, match="3 scores for a row and ends with a sigmoid"):
        owned.require_classes(graph)


@pytest.mark.parametrize("suffix", from_file.FORMATS)
def test_a_damaged_file_is_refused_by_name(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"model{suffix}").write_bytes(b"PK\x03\x04 is not what it seems")
    architecture = "mlp" if suffix in from_file.STATE_DICTS else ""
    with pytest.raises(DataError, match=f"model{suffix} (cannot be read|is a pickle)"):
        from_file.read(tmp_path / f"model{suffix}", architecture, (4,))


def onnx_of(*nodes: onnx.NodeProto, constants: dict[str, np.ndarray], shape: tuple) -> bytes:
    """A model from ``x`` to ``y``."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "k"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


WEIGHT = np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            [("Gemm", ["x", "w"], ["h"], "first"), ("Erf", ["h"], ["y"], "smooth")],
            r"the operator Erf at the node 'smooth' \(Erf\) has no counterpart",
        ),
        (
            [("Transpose", ["x"], ["h"], "turned"), ("Gemm", ["h", "w"], ["y"], "")],
            "the operator Transpose at the node 'turned'",
        ),
        (
            [("Softmax", ["x"], ["h"], "across", {"axis": 0}), ("Gemm", ["h", "w"], ["y"], "")],
            "a softmax along the rows, or along several dimensions, at the node 'across'",
        ),
    ],
)
def test_an_onnx_operator_without_counterpart_is_named_with_its_node(
    nodes: list, message: str, tmp_path: Path
) -> None:
    made = [
        helper.make_node(op, takes, gives, name=name, **(settings[0] if settings else {}))
        for op, takes, gives, name, *settings in nodes
    ]
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_of(*made, constants={"w": WEIGHT}, shape=(4,)))
    with pytest.raises(ConfigError, match=message):
        from_file.read(path, "", (4,))


def test_an_input_of_another_shape_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"])
    (tmp_path / "model.onnx").write_bytes(onnx_of(node, constants={"w": WEIGHT}, shape=(4,)))
    to_pt2(nn.Linear(4, 3), torch.zeros(2, 4), tmp_path / "model.pt2")
    for suffix in (".onnx", ".pt2"):
        with pytest.raises(ConfigError, match=r"takes rows of the shape \[4\], and feature_shape"):
            from_file.read(tmp_path / f"model{suffix}", "", (5,))


def test_operators_with_constants_give_what_onnxruntime_gives(tmp_path: Path) -> None:
    """Arithmetic with constants, shapes that are computed, and what newer opsets made inputs."""
    constants = {
        "w": np.linspace(-1, 1, 2 * 3 * 3 * 3, dtype=np.float32).reshape(2, 3, 3, 3),
        "each": np.array([1.5, -0.5], dtype=np.float32).reshape(1, 2, 1, 1),
        "half": np.float32(0.5),
        "low": np.float32(-2),
        "high": np.float32(2),
        "zero": np.array([0]),
        "rest": np.array([-1]),
        "last": np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4),
        "b": np.arange(4, dtype=np.float32),
    }
    make = helper.make_node
    nodes = [
        make("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        make("Mul", ["a", "each"], ["m"]),
        make("Sub", ["m", "half"], ["s"]),
        make("Div", ["s", "half"], ["d"]),
        make("Clip", ["d", "low", "high"], ["c"]),
        make("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[1, 1], ceil_mode=1),
        make("LeakyRelu", ["p"], ["l"], alpha=0.2),
        make("Shape", ["l"], ["shape"]),
        make("Gather", ["shape", "zero"], ["rows"]),
        make("Concat", ["rows", "rest"], ["target"], axis=0),
        make("Reshape", ["l", "target"], ["flat"]),
        make("MatMul", ["flat", "last"], ["k"]),
        make("Add", ["b", "k"], ["y"]),
    ]
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_of(*nodes, constants=constants, shape=(3, 5, 5)))
    graph, parameters = from_file.read(path, "", (3, 5, 5))
    x = np.random.default_rng(0).normal(size=(6, 3, 5, 5)).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(path).run(None, {"x": x})
    found = plain.run(graph, parameters, torch.from_numpy(x).double())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_folding_leaves_alone_what_something_else_uses_too() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.norm = nn.BatchNorm2d(2)
            self.twice = nn.BatchNorm2d(2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.conv(x)
            return (self.twice(self.norm(h)) + h).flatten(1)

    from tallystick.models.from_torch import convert

    torch.manual_seed(1)
    module = Branching()
    module(torch.randn(9, 1, 4, 4) * 3 + 1)
    graph, parameters = folding.fold(*convert(module.eval(), (1, 4, 4)))
    assert [node.op for node in graph.nodes].count("affine") == 2
    check_same(graph, parameters, module, torch.randn(3, 1, 4, 4))
