"""Where MLflow keeps runs: a store's address, a client for it, and what went wrong with it."""

import contextlib
import gc
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

_ENVIRONMENT = {
    # By default an absent server holds a call up for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    # Standard output carries events, one JSON object a line.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow reports its use to its makers by default. A party's pod calls nobody of itself.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


def store() -> str:
    """Return the address that runs go to."""
    # Absolute, for MLflow remembers stores by address, and a process may change its folder.
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').absolute()}"


def connect(uri: str) -> Any:
    """Return an MlflowClient whose store is ready: a fresh database has its tables."""
    quiet()
    if database := database_file(uri):
        # MLflow tries for minutes to open one that cannot be, as in a pod's read-only folder.
        database.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(database)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    # Importing makes so many objects that the collector's passes would take half of its time.
    collecting = gc.isenabled()
    gc.disable()
    try:
        from mlflow import MlflowClient

        # They announce each retry and a fresh database's tables, and their tracebacks hold the
        # step's own error, whose text may quote data. What matters is said by the warning event.
        for name in ("mlflow", "alembic", "urllib3.connectionpool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return MlflowClient(tracking_uri=uri)
    finally:
        if collecting:
            gc.enable()


def quiet() -> None:
    """Set what MLflow is to do without being asked: little."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def database_file(uri: str) -> Path | None:
    """Return the file of a local store, None for a server."""
    if not uri.startswith("sqlite:///"):
        return None
    return Path(uri.removeprefix("sqlite:///").partition("?")[0]).absolute()


def cause_of(error: BaseException, *, apart_from: BaseException | None = None) -> str:
    """Name what went wrong, in MLflow's or Python's word, without quoting any text."""
    while error.__context__ and error.__context__ is not apart_from:
        error = error.__context__
    return str(getattr(error, "error_code", type(error).__name__))


def out_of_reach(error: BaseException, *, apart_from: BaseException | None = None) -> bool:
    """Say whether the store could not be asked, rather than refused what it was asked for.

    All errors of the network are OSErrors, and so are those of files, which have a name.
    """
    seen: BaseException | None = error
    while seen and seen is not apart_from:
        if isinstance(seen, OSError) and seen.filename is None:
            return True
        seen = seen.__context__
    return False
