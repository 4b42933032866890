"""Models in the form that MLflow loads."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tallystick.tracking.stores import quiet


def write_pyfunc(
    folder: Path,
    data: Path,
    *,
    names: Sequence[str],
    shape: Sequence[int],
    outputs: int,
    metadata: Mapping[str, Any],
) -> None:
    """Write a model as MLflow's pyfunc, with a signature and an example of noughts.

    Args:
        folder: made by this; what ``mlflow.pyfunc.load_model`` takes.
        data: the folder that :mod:`tallystick.models.serving` reads.
        names: of the features of a row; none where a row is an array.
        shape: of one row.
        outputs: numbers that the model gives for a row; with one, the row's is no array.
        metadata: JSON values that stand in ``MLmodel``.
    """
    import numpy as np
    import pandas as pd

    quiet()
    import mlflow.pyfunc
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    example: Any = np.zeros((1, *shape), dtype=np.float32)
    inputs: Any = Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))])
    if names:
        example = pd.DataFrame(np.zeros((1, len(names))), columns=list(names))
        inputs = Schema([ColSpec("double", name) for name in names])
    given = Schema([TensorSpec(np.dtype(np.float64), (-1, outputs) if outputs > 1 else (-1,))])
    mlflow.pyfunc.save_model(
        str(folder),
        loader_module="tallystick.models.serving",
        data_path=str(data),
        signature=ModelSignature(inputs=inputs, outputs=given),
        input_example=example,
        pip_requirements=[f"{name}=={version(name)}" for name in ("tallystick", "torch", "mlflow")],
        metadata=dict(metadata),
    )
