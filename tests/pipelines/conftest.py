"""A pipeline of stand-in steps: it says and does what a parameter tells it, in an instant."""

from pathlib import Path

import pytest
from kfp import compiler, dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def psi(party: str, session: str, data: str, rate: float, consortium: str, identity: str) -> int:
    """Behave as ``data`` says: well, or in one of many bad ways."""
    import json
    import os
    import signal
    import time

    def say(event: str, **fields: object) -> None:
        print("", json.dumps({"step": "psi", "party": party, "event": event, **fields}), flush=True)

    behaviour = os.path.basename(data)
    say("started")
    say("joined")
    if behaviour == "fails":
        say("failed", kind="DataError", exit_code=3, message="its table is bad", at_fault=None)
        raise SystemExit(3)
    if behaviour == "hears":
        time.sleep(0.5)
        say("failed", kind="PeerLost", exit_code=4, message="somebody went", at_fault="alice")
        raise SystemExit(4)
    if behaviour == "dies-once" and not os.path.exists(f"{data}-did"):
        open(f"{data}-did", "w").close()
        behaviour = "dies"
    if behaviour == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour == "crashes":
        raise SystemExit(7)
    if behaviour == "hangs":
        say("progress", done=1, total=2, unit="epoch", loss=0.25)
        time.sleep(600)
    reveals = [{"what": "rows matched", "to": ["alice", "bob"], "count": 1, "why": "to learn it"}]
    say("finished", seconds=0.25, results={"rows_matched": 12}, reveals=reveals)
    return 12


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def evaluate(rows: int, report: dsl.Output[dsl.HTML]) -> None:
    """Write a report and speak of metrics."""
    import json

    with open(report.path, "w") as page:
        page.write("<p>good</p>")
    print(json.dumps({"step": "evaluate", "event": "started"}), flush=True)
    finished = {"step": "evaluate", "event": "finished", "seconds": 0.5, "results": {"auc": 0.75}}
    print(json.dumps(finished), flush=True)


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def export(rows: int, exported: dsl.Output[dsl.Model]) -> None:
    """Write a model and say nothing, as a component that is not tallystick's own does."""
    import os

    os.makedirs(exported.path)
    with open(os.path.join(exported.path, "coefficients.json"), "w") as file:
        file.write("{}")


@dsl.pipeline(name="stand-in")
def stand_in(
    party: str,
    session: str,
    data: str,
    rate: float = 0.5,
    export_to: list[str] = [],  # noqa: B006
    consortium: str = "",
    identity: str = "",
) -> None:
    """Run the stand-in steps."""
    found = psi(
        party=party,
        session=session,
        data=data,
        rate=rate,
        consortium=consortium,
        identity=identity,
    )
    rows = found.set_retry(4, backoff_duration="3600s").output
    evaluate(rows=rows)
    export(rows=rows)


@pytest.fixture(scope="session")
def stand_in_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stand-in pipeline, compiled."""
    package = tmp_path_factory.mktemp("packages") / "stand-in.yaml"
    compiler.Compiler().compile(stand_in, str(package))
    return package
