"""What export refuses before dialling, and what it writes of a model that is open."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tallystick.export import files, step
from tallystick.models.finished import FinishedModel, linear_graph
from tallystick.models.from_torch import convert
from tallystick.runtime.errors import ConfigError
from tallystick.tables.preparation import Number, Preparation


def config(**changes: Any) -> step.Config:
    fields = dict.fromkeys(("trained", "exported", "reveals", "identity", "consortium"), Path("x"))
    base = {"party": "a", "session": "s", "export_to": ("a",), "agree_to_export": True}
    return step.Config(**{**base, **fields, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"formats": ("pickle",)},
        {"register_as": "credit"},
        {"register_as": "bank/credit", "formats": ("mlflow",)},
        {"register_as": "credit:1", "formats": ("mlflow",)},
        {"tell_preparation": True},
    ],
)
def test_what_cannot_be_written_is_refused(changes: dict[str, Any]) -> None:
    config(register_as="bob's model", formats=("mlflow",))
    with pytest.raises(ConfigError, match=next(iter(changes))):
        config(**changes)


KNOWN = {
    "model": "logistic_regression",
    "label": {"kind": "binary"},
    "columns": [{"name": f"alice.c{k}", "owner": "alice"} for k in range(2)],
    "standardised": True,
}
DATED = Preparation(
    transforms=tuple(Number(column="since", part=part, fill=7.0) for part in ("year", "month")),
    fitted_by="s/1",
)


def test_what_was_told_is_written_in_any_format(tmp_path: Path) -> None:
    model = FinishedModel(
        graph=linear_graph(2),
        parameters={"weight": torch.tensor([[2.0, -1.0]]), "bias": torch.tensor([0.5])},
        known=KNOWN,
        provenance={},
    )
    for formats in (["state_dict"], ["sklearn"]):
        folder = tmp_path / formats[0]
        folder.mkdir()
        files.write(folder, model, formats, {"alice": DATED})
        told = json.loads((folder / files.PREPARATIONS).read_text())
        assert {o: Preparation.from_json(content) for o, content in told.items()} == {
            "alice": DATED
        }
    (tmp_path / "untold").mkdir()
    files.write(tmp_path / "untold", model, ["sklearn"], {})
    assert not (tmp_path / "untold" / files.PREPARATIONS).exists()


@pytest.mark.parametrize(
    "module",
    [
        torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)),
        torch.nn.Sequential(torch.nn.Linear(2, 1)),
        torch.nn.Linear(2, 3),
        torch.nn.Linear(2, 1, bias=False),
    ],
)
def test_what_scikit_learn_has_no_estimator_for_is_said(
    module: torch.nn.Module, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    graph, parameters = convert(module, (2,))
    known = {**KNOWN, "model": "alice's"}
    model = FinishedModel(graph=graph, parameters=parameters, known=known, provenance={})
    files.write(tmp_path, model, ["sklearn", "state_dict"], {})
    (warning,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert warning["event"] == "warning"
    assert "there is no model.skops" in warning["message"]
    assert {file.name for file in tmp_path.iterdir()} == {"model.json", "state_dict.pt"}
