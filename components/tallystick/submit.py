"""Submit one party's side of a job to its Kubeflow, and follow it to its end.

Kubeflow's API tells states and errors, and no metric: those come from the party's MLflow.
"""

import json
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tallystick.job import Job
from tallystick.runtime.errors import ConfigError

EXPERIMENT = "tallystick"
ENDED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELED"})


@dataclass(frozen=True, kw_only=True, slots=True)
class News:
    """What became of a task, or with no name of the whole run."""

    task: str
    state: str
    """Kubeflow's word for it, such as ``RUNNING`` or ``SUCCEEDED``."""
    error: str = ""


class Submission:
    """A Kubeflow, and what was submitted to it."""

    def __init__(self, host: str, namespace: str | None, token: str | None) -> None:
        """Connect.

        Args:
            host: address of Kubeflow Pipelines, such as ``https://kubeflow.example/pipeline``.
            namespace: the profile's namespace, where Kubeflow has several users.
            token: a bearer token, where it asks for one.

        Raises:
            ConfigError: nobody answers there, or the token is refused.
        """
        self._host, self._namespace = host.rstrip("/"), namespace
        with warnings.catch_warnings(), _named_errors(self._host):
            warnings.simplefilter("ignore", FutureWarning)  # it speaks of a version long past
            self._client = _client(
                host=self._host, namespace=namespace or "kubeflow", existing_token=token
            )

    def submit(self, job: Job, party: str, experiment: str = EXPERIMENT) -> str:
        """Start a run of the job's package with what the job says for the party, and no more.

        Returns:
            The run's id.

        Raises:
            ConfigError: Kubeflow refuses it; says why.
        """
        arguments = {**job.arguments(party), "party": party, "session": job.session}
        # The client prints addresses for a notebook; ours is in url().
        with _named_errors(self._host), redirect_stdout(None):
            started = self._client.create_run_from_pipeline_package(
                str(job.package.path),
                arguments=arguments,
                run_name=f"{job.session}-{party}",
                experiment_name=experiment,
                namespace=self._namespace,
            )
        return str(started.run_id)

    def url(self, run_id: str) -> str:
        """Return where people look at a run."""
        return f"{self._host}/#/runs/details/{run_id}"

    def follow(self, run_id: str, tasks: tuple[str, ...], poll_s: float = 5.0) -> Iterator[News]:
        """Tell each change of the tasks' states, and at last the run's.

        Args:
            run_id: the run.
            tasks: names of the tasks that are of interest; Kubeflow has more, of its own.
            poll_s: how often to ask.
        """
        seen: dict[str, News] = {}
        while True:
            with _named_errors(self._host):
                run = self._client.get_run(run_id)
            details = run.run_details.task_details if run.run_details else None
            for detail in details or ():
                news = News(
                    task=str(detail.display_name), state=str(detail.state), error=_error(detail)
                )
                if news.task in tasks and seen.get(news.task) != news:
                    seen[news.task] = news
                    yield news
            if run.state in ENDED:
                yield News(task="", state=run.state, error=_error(run))
                return
            time.sleep(poll_s)


def _client(**arguments: Any) -> Any:
    from kfp import Client

    class Asking(Client):  # type: ignore[misc]
        """KFP's client, but it asks once who answers; KFP's asks for half a minute."""

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            return self._healthz_api.healthz_service_get_healthz()

    return Asking(**arguments)


@contextmanager
def _named_errors(host: str) -> Iterator[None]:
    """Turn what the client raises into errors that say what to do."""
    from kfp_server_api import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except HTTPError as error:
        raise ConfigError(
            f"no Kubeflow Pipelines answers at {host} ({type(error).__name__}); check --host, and "
            "that this machine may reach it"
        ) from None
    except ApiException as error:
        remedy = {
            401: "; give a bearer token with --token-file",
            403: "; check --namespace, and what your account may do there",
            404: "; check that --host is the address of Kubeflow Pipelines",
        }.get(error.status, "")
        raise ConfigError(
            f"Kubeflow Pipelines at {host} answers {error.status}: {_reason(error)}{remedy}"
        ) from None


def _reason(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)


def _error(told: Any) -> str:
    return str(told.error.message or "") if told.error else ""


def read_token(path: Path) -> str:
    """Read a bearer token.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {error}") from None
