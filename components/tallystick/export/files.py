"""The files of an opened model, for people's own tools.

===========  ===================  ===============================================================
format       file                 read by
===========  ===================  ===============================================================
always       model.json           people: architecture, features, label, provenance
always       coefficients.json    of a linear model: scikit-learn's names for its coefficients
always       preparations.json    where the owners told: what was done to each owner's columns
state_dict   state_dict.pt        torch.load(path, weights_only=True); of a linear model it is that
                                  of Linear(F, 1)
safetensors  model.safetensors    safetensors.torch.load_file
onnx         model.onnx           onnxruntime: features to scores
sklearn      model.skops          skops.io.load: the estimator of a linear model, or with what
                                  the owners told, a pipeline that prepares the columns first
mlflow       mlflow_model/        mlflow.pyfunc.load_model: features to probabilities or numbers
===========  ===================  ===============================================================
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tallystick import tracking
from tallystick.models.finished import PARAMETERS, FinishedModel
from tallystick.models.linear import INTERCEPT, LINEAR_MODELS
from tallystick.models.meaning import two_classes
from tallystick.runtime import events
from tallystick.tables.preparation import Preparation

FORMATS = ("state_dict", "safetensors", "onnx", "sklearn", "mlflow")
STATE_DICT = "state_dict.pt"
COEFFICIENTS = "coefficients.json"
PREPARATIONS = "preparations.json"
ONNX = "model.onnx"
SKOPS = "model.skops"
MLFLOW = "mlflow_model"


def write(
    folder: Path,
    model: FinishedModel,
    formats: Sequence[str],
    prepared: Mapping[str, Preparation],
) -> None:
    """Write the files of some formats, and what is always written.

    Args:
        folder: there already.
        model: the opened model.
        formats: some of ``FORMATS``; sklearn is left out, with a warning, where the model is not
            linear.
        prepared: what was done to each owner's columns, by owner, where all of them told.
    """
    model.write(folder)
    if model.is_linear:
        _coefficients(folder, model)
    if prepared:
        told = {owner: preparation.as_json() for owner, preparation in prepared.items()}
        (folder / PREPARATIONS).write_text(json.dumps(told, indent=2) + "\n")
    if "state_dict" in formats:
        state = {name: value.float().clone() for name, value in model.parameters.items()}
        torch.save(state, folder / STATE_DICT)
    if "onnx" in formats:
        from tallystick.models import to_onnx

        properties = {"provenance": model.provenance, "label": model.known["label"]}
        to_onnx.write(folder / ONNX, model.graph, model.parameters, properties)
    if "sklearn" in formats:
        _estimator(folder, model, prepared)
    if "mlflow" in formats:
        with tempfile.TemporaryDirectory(dir=folder) as data:
            model.write(Path(data))
            tracking.write_pyfunc(
                folder / MLFLOW,
                Path(data),
                names=model.features if len(model.graph.feature_shape) == 1 else (),
                shape=model.graph.feature_shape,
                outputs=model.graph.outputs,
                metadata={"provenance": dict(model.provenance)},
            )
    if "safetensors" not in formats:
        (folder / PARAMETERS).unlink()


def _estimator(folder: Path, model: FinishedModel, prepared: Mapping[str, Preparation]) -> None:
    if not model.is_linear:
        events.emit(
            "warning",
            message=f"formats: there is no {SKOPS}, which is for "
            f"{', '.join(LINEAR_MODELS)}; onnx and mlflow take any model",
        )
        return
    from tallystick.models import to_sklearn

    if not to_sklearn.has_counterpart(prepared):
        events.emit(
            "warning",
            message="scikit-learn's estimator takes prepared features: "
            "there is nothing in scikit-learn for the parts of a date; what was done to the "
            f"columns stands in {PREPARATIONS}",
        )
        prepared = {}
    to_sklearn.write(folder / SKOPS, model, prepared)


def _coefficients(folder: Path, model: FinishedModel) -> None:
    coefficients = model.parameters["weight"].double()
    intercept = model.parameters["bias"].double()
    content = {
        "model": model.known["model"],
        "feature_names_in_": model.features,
        "coef_": coefficients.tolist(),
        "intercept_": intercept.tolist(),
        "coefficients": {
            **dict(zip(model.features, coefficients[0].tolist(), strict=True)),
            INTERCEPT: float(intercept),
        },
        "standardised": model.known["standardised"],
        "label": model.known["label"],
    }
    if model.kind == "binary":
        content["classes_"] = two_classes(model.known)
    (folder / COEFFICIENTS).write_text(json.dumps(content, indent=2) + "\n")
