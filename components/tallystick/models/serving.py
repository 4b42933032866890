"""An opened model as MLflow loads it: ``mlflow.pyfunc`` calls :func:`_load_pyfunc` by its name.

So a model is data and the name of this module; nothing in it is unpickled, and no code travels.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tallystick.models.finished import FinishedModel


class Served:
    """Takes what MLflow hands over: a table with the features' names, or an array."""

    def __init__(self, model: FinishedModel) -> None:
        self._model = model

    def predict(self, inputs: Any, params: Any = None) -> NDArray[np.float64]:
        """Return probabilities, or of a regression the number; see ``FinishedModel.predict``."""
        if hasattr(inputs, "columns"):
            inputs = inputs[self._model.features].to_numpy()
        return self._model.predict(np.asarray(inputs))


def _load_pyfunc(path: str) -> Served:
    return Served(FinishedModel.read(Path(path)))
