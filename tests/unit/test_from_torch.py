"""The converter: what it gives is the module; what it cannot convert it names, and where."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as functional
from tallystick.models import architectures, plain
from tallystick.models.from_torch import convert
from tallystick.models.graph import Graph
from tallystick.models.networks import NETWORKS
from tallystick.models.operations_of_torch import MODULES
from tallystick.runtime.errors import ConfigError, DataError
from torch import Tensor, nn


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_by_name_is_converted_and_its_graph_survives_json(name: str) -> None:
    graph, parameters = architectures.build(name, (1, 28, 28), 10, seed=5)
    assert Graph.from_json(graph.as_json()) == graph
    assert Graph.from_json(graph.as_json()).digest() == graph.digest()
    module = NETWORKS[name]((1, 28, 28), 10).double().eval()
    module.load_state_dict(parameters, strict=False)
    features = torch.randn(3, 1, 28, 28, dtype=torch.float64)
    torch.testing.assert_close(plain.run(graph, parameters, features), module(features))


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    one, same, other = (architectures.build("mlp", (4,), 1, seed)[1] for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["fc1.weight"], other["fc1.weight"])


class _Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 6), nn.GRU(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.body(x)[0]
        return result


class Cumulative(_Linear):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(self.layer(x), 1)


class Branching(_Linear):
    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) if x.sum() > 0 else x


class Moody(_Linear):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x) * 2 if self.training else self.layer(x)
        return result


class Overwriting(_Linear):
    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x)
        return y.relu_() + y * 0.5


class Looking(_Linear):
    """It has looked at what it should not tell."""

    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("patient 4711")


class Cutting(_Linear):
    def forward(self, x: Tensor) -> Tensor:
        return x.view(4711, 3)


class Mixing(_Linear):
    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.layer(x).view(-1, 2)
        return result


class Circular(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.around = nn.Conv1d(1, 4, 3, padding=1, padding_mode="circular")

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.around(x.unsqueeze(1)).flatten(1)
        return result


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Recurrent, r"the layer GRU at layer 'body.1', line \d+ of test_from_torch.py"),
        (Cumulative, r"the operation cumsum at operation 'cumsum', line \d+ of test_from_torch.py"),
        (Circular, r"a convolution whose padding is not nought at layer 'around'"),
        (Mixing, r"reshape, whose result has no rows first, at operation 'view'"),
        (Branching, "may not branch on values"),
        (Moody, "may not depend on self.training"),
        (Overwriting, "changed in place"),
    ],
)
def test_what_cannot_be_converted_is_named_with_its_place(
    module: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        convert(module(), (4,))


class Backbone(_Linear):
    """A head on what is frozen, one layer in each of the ways in which a user may freeze it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer.requires_grad_(False)
        self.norm = nn.BatchNorm1d(6)
        self.ungraded = nn.Linear(6, 6)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(6, 1)
        self.used = nn.Linear(6, 6)

    def train(self, mode: bool = True) -> None:  # type: ignore[override]
        super().train(mode)
        self.norm.eval()
        self.drop.eval()

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.ungraded(self.layer(x))
        result: Tensor = self.head(self.drop(functional.dropout(self.norm(x), 0.5, training=False)))
        return result


def test_what_is_frozen_stays_out_of_training() -> None:
    module = Backbone()
    graph, parameters = convert(module, (4,))
    assert graph.parameters.keys() == {
        f"{n}.{r}" for n in ("norm", "head") for r in ("weight", "bias")
    }
    assert graph.buffers.keys() >= {"layer.weight", "layer.bias", "ungraded.weight"}
    assert "dropout" not in {node.op for node in graph.nodes}
    # The BatchNorm keeps to its running statistics, so the graph gives the same in training.
    parameters["norm.running_mean"] += 2
    module.norm.running_mean += 2
    x = torch.randn(9, 4, dtype=torch.float64)
    found = plain.run(graph, parameters, x, training=True)
    module.train()
    torch.testing.assert_close(found, module(x))
    assert (parameters["norm.running_mean"] == 2).all()


class Cut(_Linear):
    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        with torch.no_grad():
            scale = torch.sigmoid(h)
        return h * scale


def test_no_grad_on_what_is_trained_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"no_grad on .* 'sigmoid', line \d+ of test_from_torch"):
        convert(Cut(), (4,))


def test_a_model_whose_every_parameter_is_frozen_can_be_applied_and_not_trained(
    tmp_path: Path,
) -> None:
    file = tmp_path / "finished.py"
    file.write_text(
        "from torch import nn\n\n\nclass Finished(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(nn.Linear(4, 3))\n"
        "        self.requires_grad_(False)\n"
    )
    graph, _ = architectures.build(f"{file}:Finished", (4,), None, seed=0)
    assert graph.shapes.keys() == {"0.weight", "0.bias"}
    with pytest.raises(ConfigError, match="no parameter that could be trained"):
        architectures.build(f"{file}:Finished", (4,), 3, seed=0)


def test_the_readme_that_errors_point_to_lists_every_layer() -> None:
    folder = Path(architectures.__file__).parents[1]
    page = (folder / "train" / "README.md").read_text()
    listed = set(re.findall(r"[A-Za-z0-9]+", page))
    assert {kind.__name__ for kind in MODULES} <= listed


def test_a_module_that_does_not_fit_the_features_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"does not fit features of the shape \[5\]"):
        convert(nn.Sequential(nn.Linear(4, 1)), (5,))


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Looking, r"cannot be followed .*KeyError at line \d+ of test_from_torch\.py"),
        (Cutting, r"does not fit .*RuntimeError at operation 'view', line \d+ of test_from_torch"),
    ],
)
def test_what_a_users_own_code_says_as_it_fails_is_not_told(
    module: Callable[[], nn.Module], said: str
) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        convert(module(), (4,))
    assert "4711" not in str(error.value)


def test_a_softmax_at_the_end_is_left_to_the_loss() -> None:
    graph, _ = convert(nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1)), (4,))
    assert [node.op for node in graph.nodes] == ["input", "linear"]
    assert graph.final == "softmax"


class Squeezed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.fc(x)).squeeze(1)


def test_a_last_function_is_left_to_the_loss_whatever_form_its_result_is_put_into() -> None:
    graph, _ = convert(Squeezed(), (4,))
    assert [node.op for node in graph.nodes] == ["input", "linear", "reshape", "reshape"]
    assert graph.final == "sigmoid"
    classes = nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=1), nn.Dropout(0.1), nn.Flatten())
    graph, _ = convert(classes, (4,))
    assert [node.op for node in graph.nodes] == ["input", "linear", "dropout", "reshape"]
    assert graph.final == "softmax"


class ByTwo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).view(-1, 3, 2).softmax(2).flatten(1)


def test_a_softmax_over_some_of_the_scores_stays() -> None:
    graph, _ = convert(ByTwo(), (4,))
    assert [node.op for node in graph.nodes][-2:] == ["softmax", "reshape"]
    assert not graph.final


def test_a_users_own_class_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "my_model.py"
    file.write_text(
        "from torch import nn\n\n\nclass Mine(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(nn.Linear(4, 3))\n"
    )
    _, parameters = architectures.build(f"{file}:Mine", (4,), 3, seed=0)
    assert parameters.keys() == {"0.weight", "0.bias"}
    with pytest.raises(ConfigError, match=r"my_model.py:Mine gives 3 scores .* needs 1"):
        architectures.build(f"{file}:Mine", (4,), 1, seed=0)
    with pytest.raises(ConfigError, match=r"my_model.py:Yours cannot be made \(AttributeError"):
        architectures.build(f"{file}:Yours", (4,), 3, seed=0)


@pytest.mark.parametrize("damage", ["format", "nodes", "inputs", "parameters", "order"])
def test_a_damaged_graph_is_refused(damage: str) -> None:
    content = architectures.build("mlp", (4,), 1, 0)[0].as_json()
    match damage:
        case "format":
            content["format"] = 2
        case "nodes":
            content["nodes"] = []
        case "inputs":
            content["nodes"][2]["inputs"] = ["nowhere"]
        case "parameters":
            del content["parameters"]["fc2.weight"]
        case "order":
            content["nodes"].reverse()
    with pytest.raises(DataError, match="architecture cannot be read"):
        Graph.from_json(content)
