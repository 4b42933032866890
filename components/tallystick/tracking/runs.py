"""A session's run: found again by each of its steps, written, and left finished or failed."""

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tallystick.runtime import events, life
from tallystick.runtime.addresses import without_credentials
from tallystick.runtime.errors import ConfigError, TallystickError
from tallystick.tracking.stores import (
    cause_of,
    connect,
    database_file,
    out_of_reach,
    store,
)

EXPERIMENT = "tallystick"
MODEL = "model"
ERROR_TAG = "tallystick.error"
PARENT_TAG = "mlflow.parentRunId"
STEP_TAG = "tallystick.step."


class Run:
    """The session's run at one party, as one of its steps sees it."""

    def __init__(self, *, session: str, party: str, step: str) -> None:
        self._session, self._party, self._step = session, party, step
        self._uri = store()
        self._client: Any = None
        self._reached = True
        self._warned: set[str] = set()
        self._run_id = ""
        self._known: dict[str, str] = {}
        with self._tolerating_failure("the run"):
            self._open()

    def parameters(self, values: Mapping[str, object]) -> None:
        """Log parameters. A name that an earlier step gave another value gets the step's prefix."""
        new: dict[str, str] = {}
        for name, value in values.items():
            text = str(value)
            # MLflow refuses to change a parameter.
            key = name if self._known.get(name, text) == text else f"{self._step}.{name}"
            if key not in self._known:
                new[key] = text
        self._known |= new
        if self._used and new:
            from mlflow.entities import Param

            parameters = [Param(name, text) for name, text in new.items()]
            self._call("log_batch", params=parameters, synchronous=True)

    def metric(self, name: str, value: float, index: int) -> None:
        """Log one point of a curve, ``index`` being the epoch, say. NaN and inf are left out."""
        self._points({name: value}, index)

    def metrics(self, values: Mapping[str, float]) -> None:
        """Log single numbers. NaN and inf are left out."""
        self._points(values, 0)

    def traffic(self, step: str, counters: Mapping[str, float]) -> None:
        """Log a step's links, under the prefix that MLflow shows beside its own system metrics."""
        self.metrics({f"system/{step}/{name}": count for name, count in counters.items()})

    def text(self, filename: str, text: str) -> None:
        """Store a text, such as the report, as a file of the run."""
        self._call("log_text", text, filename)

    def json(self, filename: str, value: object) -> None:
        """Store a JSON value as a file of the run."""
        self.text(filename, json.dumps(value, indent=2) + "\n")

    def model(self, folder: Path, register_as: str = "") -> None:
        """Store a model that :func:`write_pyfunc` wrote, and register it under a name, if any."""
        if self._used:
            with self._tolerating_failure("the model"):
                self._client.log_artifacts(self._run_id, str(folder), MODEL)
                if register_as:
                    self._register(register_as)

    def close(self, error: BaseException | None = None) -> None:
        """Mark the step as finished, or as failed for ``error``, and the run with its steps."""
        # A store that went away may be back, and nobody else will ever end this run.
        self._reached = True
        if error is not None:
            name = type(error).__name__
            # Only our own messages are known to hold no value from the data.
            text = f"{name}: {error}" if isinstance(error, TallystickError) else name
            self._call("set_tag", ERROR_TAG, text[:1000])
        self.traffic(self._step, life.outcome.traffic)
        self._call("set_tag", self._step_tag, "failed" if error else "finished")
        if self._used:
            with self._tolerating_failure("the run's end"):
                # Two steps, such as evaluate and export, may be at work at a time.
                failed = error or _failed_steps(self._client.get_run(self._run_id))
                self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")

    def _points(self, values: Mapping[str, float], index: int) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if self._used and finite:
            from mlflow.entities import Metric

            now_ms = int(time.time() * 1000)
            points = [Metric(name, value, now_ms, index) for name, value in finite.items()]
            self._call("log_batch", metrics=points, synchronous=True)

    @property
    def _step_tag(self) -> str:
        return f"{STEP_TAG}{self._step}"

    @property
    def _used(self) -> bool:
        return self._client is not None and self._reached

    def _register(self, name: str) -> None:
        try:
            self._client.get_registered_model(name)
        except Exception as error:
            if getattr(error, "error_code", "") != "RESOURCE_DOES_NOT_EXIST":
                raise
            self._client.create_registered_model(name)
        run = self._client.get_run(self._run_id)
        self._client.create_model_version(name, f"{run.info.artifact_uri}/{MODEL}", self._run_id)

    def _call(self, method: str, *arguments: object, **keywords: object) -> None:
        if self._used:
            with self._tolerating_failure(method):
                getattr(self._client, method)(self._run_id, *arguments, **keywords)

    @contextlib.contextmanager
    def _tolerating_failure(self, what: str) -> Iterator[None]:
        step_error = sys.exception()
        try:
            yield
        except Exception as error:
            # The text of the error is not passed on: it may quote credentials from the address.
            cause = cause_of(error, apart_from=step_error)
            advice = "the rest is logged"
            if self._client is None or out_of_reach(error, apart_from=step_error):
                # Each further call would wait for seconds.
                self._reached = False
                advice = "check MLFLOW_TRACKING_URI and the server"
            if cause not in self._warned:
                self._warned.add(cause)
                events.emit(
                    "warning",
                    message=f"MLflow at {without_credentials(self._uri)} failed ({cause}) at "
                    f"{what}, so step {self._step!r} goes on without it; {advice}",
                )

    def _open(self) -> None:
        client = connect(self._uri)
        tags = {"tallystick.session": self._session, "tallystick.party": self._party}
        experiment, parent = _place(client, self._uri)
        if parent:
            tags[PARENT_TAG] = parent
        found = _search(client, [experiment], tags)
        if found and found[0].data.tags.get(self._step_tag) != "finished":
            run = found[0]
            client.update_run(run.info.run_id, status="RUNNING")
            if ERROR_TAG in run.data.tags and _failed_steps(run) <= {self._step}:
                client.delete_tag(run.info.run_id, ERROR_TAG)
        else:
            run = client.create_run(
                experiment, tags=tags, run_name=f"{self._session}-{self._party}"
            )
        self._run_id, self._known = run.info.run_id, dict(run.data.params)
        client.set_tag(self._run_id, self._step_tag, "running")
        self._client = client


@contextlib.contextmanager
def run(*, session: str, party: str, step: str) -> Iterator[Run]:
    """Open the party's run of the session for one step.

    Args:
        session: the session's name.
        party: the party that logs.
        step: the step that this process executes.
    """
    opened = Run(session=session, party=party, step=step)
    try:
        yield opened
    except BaseException as error:
        opened.close(error)
        raise
    opened.close()


def metrics(uri: str, *, session: str, party: str) -> dict[str, float]:
    """Return the last value of each metric in a party's run of a session.

    Args:
        uri: the store that holds it.
        session: the session's name.
        party: the party that logged.

    Raises:
        ConfigError: the store cannot be read, or knows no such run.
    """
    tags = {"tallystick.session": session, "tallystick.party": party}
    try:
        client = connect(uri)
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        (run,) = _search(client, experiments, tags)
    except Exception as error:
        cause = "no such run" if isinstance(error, ValueError) else cause_of(error)
        raise ConfigError(
            f"the metrics of session {session!r} are not to be had from MLflow at "
            f"{without_credentials(uri)} ({cause})"
        ) from None
    return dict(sorted(run.data.metrics.items()))


def _failed_steps(run: Any) -> set[str]:
    """Return the steps whose last attempt failed."""
    tags = run.data.tags.items()
    return {k.removeprefix(STEP_TAG) for k, v in tags if k.startswith(STEP_TAG) and v == "failed"}


def _search(client: Any, experiments: list[str], tags: Mapping[str, str]) -> list[Any]:
    """Return the last run with all of the tags, if there is one."""
    return [
        *client.search_runs(
            experiments,
            " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items()),
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
    ]


def _place(client: Any, uri: str) -> tuple[str, str | None]:
    """Return the experiment's id, and under Kubeflow's plugin the id of the run to stand under."""
    task = os.environ.get("MLFLOW_RUN_ID")
    if task:
        # The plugin makes one run for the pipeline run and one below it for each task. Ours is
        # shared by the tasks, so its place is beside theirs.
        try:
            plugin = client.get_run(task)
            return plugin.info.experiment_id, plugin.data.tags.get(PARENT_TAG, task)
        except Exception as error:
            if cause_of(error) != "RESOURCE_DOES_NOT_EXIST":
                raise
    if found := client.get_experiment_by_name(EXPERIMENT):
        return found.experiment_id, task
    # MLflow would put a local store's files into ./mlruns, wherever the database is.
    database = database_file(uri)
    files = database and (database.parent / "mlartifacts").as_uri()
    try:
        return client.create_experiment(EXPERIMENT, artifact_location=files), task
    except Exception:
        # Another party's step, on the same store, was quicker.
        if found := client.get_experiment_by_name(EXPERIMENT):
            return found.experiment_id, task
        raise
