"""What a party keeps of a session in MLflow: one run, which the session's steps share.

Each step is a process of its own. It finds the run again by the tags ``tallystick.session`` and
``tallystick.party``, reopens it, and leaves it finished or failed. A step that had failed, or was
killed, continues its run; a step that had finished and is executed once more begins a new one.

Where the runs go: to ``MLFLOW_TRACKING_URI`` if set, or else to ``mlflow.db`` in the working
folder. Where Kubeflow's MLflow plugin made a run for the task (``MLFLOW_RUN_ID``), that run is
Kubeflow's to write: ours becomes a child in its tree.

A step never fails, nor waits long, because tracking is down. It says so once and goes on without.
"""

from tallystick.tracking.models import write_pyfunc
from tallystick.tracking.runs import ERROR_TAG, EXPERIMENT, PARENT_TAG, Run, metrics, run
from tallystick.tracking.stores import connect, store

__all__ = [
    "ERROR_TAG",
    "EXPERIMENT",
    "PARENT_TAG",
    "Run",
    "connect",
    "metrics",
    "run",
    "store",
    "write_pyfunc",
]
