"""The ``tallystick`` command."""

import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tallystick import __version__
from tallystick.job import EXAMPLE, SIDE_EXAMPLE, Job
from tallystick.runtime.errors import ConfigError, PeerError, TallystickError

if TYPE_CHECKING:
    from tallystick.local.results import Summary

app = typer.Typer(
    name="tallystick",
    help="Train, evaluate and use one model on the joined data of several organisations, none of "
    "which shows another a row.\n\nBegin with [bold]tallystick demo[/bold].",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Typer keeps the line breaks of a paragraph but for the first: each paragraph is one line here.
RUN_HELP = f"""Run a job on this machine: one process for each party, one for the dealer.

Each party runs the compiled pipeline that it would upload in its own Kubeflow. A job file:

\b
{escape(EXAMPLE)}
Try: [bold]tallystick run job.yaml --out results[/bold]

The exit code is 0 only when every party finished, or else that of the error's kind: \
2 the job or a parameter, 3 a party's data, 4 a lost or late party, 5 a broken protocol.
"""
ESTIMATE_HELP = """Say what a job's training will cost: rounds, bytes, memory and time.

Rehearses one batch on this machine, with noughts for data; nobody is asked for anything. The \
rows are those of the intersection, which is not known before: give what you expect.
"""
DEMO_HELP = """Two organisations train one model on this machine, in about a minute.

Splits scikit-learn's breast-cancer data by column into two files, runs a job on them, and \
compares the model with a plaintext one and with what one side could reach alone. With \
[bold]--model lenet[/bold] a network learns to read digits of which each side has half: minutes.
"""
SUBMIT_HELP = """Submit one party's side of a job to its own Kubeflow, and follow it to its end.

Sends the compiled package with the parameters of the job file, and no others. A relative path \
of a table is one below /data, where the party's claim is mounted. Every party submits its own \
side; where one fails, all do.
"""
INSPECT_HELP = """Show what a table holds and what would be done to it; nothing leaves this machine.

Types, missing values, categories, and what the defaults make of each column, or with --job what \
that job's rules make of it. Ends with a job file to begin with.
"""
PARITY_HELP = """Run a job on synthetic data securely and in plaintext, and compare.

Takes from the job's tables their columns, kinds and numbers of rows, and no value; writes \
random tables of that shape, runs the job on them on this machine, and repeats training and \
evaluation with torch and scikit-learn. So one can trust the arithmetic before real data meet it.

Try: [bold]tallystick parity job.yaml --out parity[/bold]

The exit code is 1 where a difference is larger than rounding explains.
"""
KEYGEN_HELP = """Make a key and a certificate for a party or the dealer.

The folder then holds tls.key, which stays with its owner, and tls.crt, which every other \
member pins in its consortium file. Its layout is that of a Kubernetes TLS secret.
"""
DOCTOR_HELP = """Check before a run that the members can meet; start it at every party together.

Looks at this party's key, at every certificate and name, and then meets the others and the \
dealer: both certificates, versions, clocks, the time there and back, and the throughput. One \
line for each finding says what to do where it is not well.
"""
DEALER_HELP = """Serve correlated randomness to a consortium until told to stop.

The dealer sees no data. Its organisation must not be one of the parties, nor side with one: \
together with any one party it could see everything.
"""


SERVE_HELP = """Keep a model ready and answer requests for predictions, until told to stop.

Every party starts its own side, with a file of its own; the dealer runs. Shares the model once; \
then the party that receives the predictions answers programs of its own over HTTP, with a bearer \
token, and the others compute with it. They learn when and how many rows are asked for, and no row \
or prediction. A side's file:

\b
{example}
Then: [bold]curl -H "Authorization: Bearer $(cat token)" --json '{{"rows": [{{...}}]}}' \
localhost:8080/v1/predict[/bold]; GET /v1/model says what a row must hold.

To end all sides well, stop any one of them with Ctrl-C or SIGTERM.
"""


class RunnerName(StrEnum):
    """What a step is, on this machine."""

    PROCESSES = "processes"
    DOCKER = "docker"


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)
    ] = False,
) -> None:
    """Answer what is asked of no command."""
    if version:
        typer.echo(f"tallystick {__version__}")
        raise typer.Exit


@app.command(help=RUN_HELP)
def run(
    job_file: Annotated[
        Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where results go: a new folder, or that of an earlier run, which is replaced. "
            "By default runs/SESSION beside the job file.",
            show_default=False,
        ),
    ] = None,
    runner: Annotated[
        RunnerName,
        typer.Option(help="Whether each step is a process of this machine or a Docker container."),
    ] = RunnerName.PROCESSES,
    retries: Annotated[
        int,
        typer.Option(
            min=0, help="How often a step that was killed, or lost a peer, is started anew."
        ),
    ] = 0,
) -> None:
    """Run a job on this machine."""
    with _errors():
        job = Job.load(job_file)
        from tallystick import local, preflight

        preflight.check(job, job.parties)
        console = Console()
        folder = out or job_file.resolve().parent / "runs" / job.session
        containers = runner is RunnerName.DOCKER
        summary = local.run(job, folder, console, containers=containers, retries=retries)
        report(summary, console)
        guide(summary, next(iter(job.parties)), console)
    raise typer.Exit(summary.exit_code)


@app.command(help=SUBMIT_HELP)
def submit(
    job_file: Annotated[
        Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)
    ],
    host: Annotated[str, typer.Option(metavar="URL", help="Address of Kubeflow Pipelines.")],
    party: Annotated[str, typer.Option(metavar="NAME", help="The party to submit for.")],
    namespace: Annotated[
        str | None,
        typer.Option(help="The profile's namespace.", show_default=False),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A file with a bearer token.", show_default=False),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="This party's MLflow, to end with the metrics.",
            envvar="MLFLOW_TRACKING_URI",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Submit one party's side of a job."""
    with _errors():
        from tallystick import preflight
        from tallystick import submit as submission

        job = Job.load(job_file, alone=party)
        preflight.check(job, [party])
        token = submission.read_token(token_file) if token_file else None
        kubeflow = submission.Submission(host, namespace, token)
        run_id = kubeflow.submit(job, party)
        typer.echo(f"submitted: {kubeflow.url(run_id)}")
        for news in kubeflow.follow(run_id, job.package.steps):
            error = f": {news.error}" if news.error else ""
            typer.echo(f"{news.task or 'run'}: {news.state.lower()}{error}")
        if news.state != "SUCCEEDED":
            raise typer.Exit(1)
        if mlflow:
            from tallystick import tracking

            try:
                _show(tracking.metrics(mlflow, session=job.session, party=party), Console())
            except ConfigError as error:  # the run went well all the same
                _complain(str(error))


@app.command(help=ESTIMATE_HELP)
def estimate(
    job_file: Annotated[
        Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)
    ],
    rows: Annotated[int, typer.Option(help="Rows that train.", min=1, show_default=False)],
    features: Annotated[
        int, typer.Option(help="Features of all parties.", min=1, show_default=False)
    ],
    classes: Annotated[int, typer.Option(help="Classes of the label; 0 for a number.", min=0)] = 2,
    validation_rows: Annotated[int, typer.Option(help="Rows that validate.", min=0)] = 0,
    round_trip_ms: Annotated[
        float, typer.Option(help="Time there and back between the members, in ms.", min=0)
    ] = 1.0,
    bandwidth_mbit: Annotated[
        float, typer.Option(help="Throughput between them, in Mbit/s.", min=0.001)
    ] = 1000.0,
) -> None:
    """Say what a job's training will cost."""
    with _errors():
        job = Job.load(job_file)
        from tallystick import estimate as estimation
        from tallystick.train.estimate import Rows

        outlook = estimation.of_job(
            job,
            rows=Rows(
                train=rows,
                validation=validation_rows,
                feature_shape=(features,),
                label_width=classes if classes > 2 else 1,
            ),
            kind={0: "number", 2: "binary"}.get(classes, "classes"),
            processors=os.cpu_count() or 1,
            round_trip_s=round_trip_ms / 1000,
            bandwidth=bandwidth_mbit * 1e6 / 8,
        )
        network = f"{round_trip_ms:g} ms and {bandwidth_mbit:g} Mbit/s apart"
        estimation.show(outlook, Console(), network=network)


@app.command(help=DEMO_HELP)
def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where data and results go; both are replaced.")
    ] = Path("demo"),
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="What is trained: logistic_regression or linear_svm on the clinic's data, or a "
            "network (lenet, cnn, mlp...) on handwritten digits.",
        ),
    ] = "logistic_regression",
) -> None:
    """Run the demonstration."""
    with _errors():
        from tallystick import demo as demonstration

        console = Console()
        summary = demonstration.run(out, console, model)
        report(summary, console)
        if not summary.error:
            demonstration.compare(summary, console, model)
        guide(summary, demonstration.PARTIES[0], console)
    raise typer.Exit(summary.exit_code)


@app.command(help=PARITY_HELP)
def parity(
    job_file: Annotated[
        Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Where data and results go: a new folder.")
    ] = Path("parity"),
    rows: Annotated[
        int | None,
        typer.Option(
            min=50, help="Rows of each synthetic table. By default the job's, at most 5000."
        ),
    ] = None,
) -> None:
    """Compare the secure arithmetic with plaintext."""
    with _errors():
        from tallystick.parity import comparison

        console = Console()
        found = comparison.run(Job.load(job_file), out, rows, console)
        if not isinstance(found, comparison.Parity):
            report(found, console)
            raise typer.Exit(found.exit_code)
        comparison.show(found, console)
        raise typer.Exit(0 if found.holds else 1)


@app.command(help=INSPECT_HELP)
def inspect(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="CSV, Parquet, a folder of either, s3:// or gs://; or images.",
            show_default=False,
        ),
    ],
    job: Annotated[
        Path | None,
        typer.Option(metavar="JOB.yaml", help="Follow the rules of this job.", show_default=False),
    ] = None,
    reading: Annotated[
        str | None,
        typer.Option(
            metavar="MAPPING",
            help="How the table is written, such as '{encoding: latin-1, decimal: \",\"}'.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Look at a table."""
    with _errors():
        from tallystick import inspection

        inspection.show(table, job, reading, Console())


@app.command(help=KEYGEN_HELP)
def keygen(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its name in the consortium file.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder. By default NAME.", show_default=False),
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(
            metavar="SECRET",
            help="In a pod: keep both as this Kubernetes Secret instead, unless it exists.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a key and a certificate."""
    with _errors():
        if secret:
            from tallystick.keeping import keygen_in_cluster

            # The certificate alone: it is public, and the log may be kept.
            typer.echo(keygen_in_cluster(name, secret), nl=False)
            return
        from tallystick.runtime import identity

        certificate = identity.keygen(name, out or Path(name))
    typer.echo(f"{certificate.parent / identity.KEY_FILE}: keep it to yourself")
    typer.echo(f"{certificate}: give it to every member of the consortium")


@app.command(help=DOCTOR_HELP)
def doctor(
    party: Annotated[
        str, typer.Option(metavar="NAME", help="The party that this machine works for.")
    ],
    consortium: Annotated[Path, typer.Option(metavar="FILE", help="The consortium file.")],
    identity: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder with tls.key and tls.crt.")
    ],
    timeout_s: Annotated[
        float, typer.Option(help="How long to wait for the others' doctors, in seconds.")
    ] = 60.0,
) -> None:
    """Look for what would keep the members from meeting."""
    with _errors():
        from tallystick.runtime import doctor as examination
        from tallystick.runtime.consortium import Consortium

        console = Console()
        members = Consortium.load(consortium)
        well = True
        for finding in examination.examine(members, party, identity, timeout_s):
            well = well and finding.well
            mark = "[green]ok  [/green]" if finding.well else "[red]FIX [/red]"
            line = f"{mark} {escape(finding.member):12} {finding.what:12} {escape(finding.text)}"
            console.print(line, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if well else PeerError.exit_code)


@app.command(help=SERVE_HELP.format(example=escape(SIDE_EXAMPLE)))
def serve(
    side_file: Annotated[
        Path, typer.Argument(metavar="SIDE.yaml", help="This party's side.", show_default=False)
    ],
) -> None:
    """Answer requests for predictions."""
    with _errors():
        from tallystick import side
        from tallystick.predict import serve as service

        service.run(side.load(side_file))


@app.command(help=DEALER_HELP)
def dealer(
    consortium: Annotated[Path, typer.Option(metavar="FILE", help="The consortium file.")],
    identity: Annotated[
        Path, typer.Option(metavar="DIR", help="The folder with tls.key and tls.crt.")
    ],
    metrics_port: Annotated[
        int | None,
        typer.Option(help="Where Prometheus and probes may ask.", show_default=False),
    ] = None,
) -> None:
    """Serve correlated randomness."""
    with _errors():
        from tallystick.runtime.dealer.__main__ import serve

        code = serve(consortium, identity, metrics_port)
    raise typer.Exit(code)


def report(summary: "Summary", console: Console) -> None:
    """Show how a run went: its totals, or its error, which goes to standard error."""
    if summary.error:
        error = summary.error
        where = f" at {error.party}, step {error.step}" if error.party else ""
        _complain(f"{error.kind}{where}: {error.message}")
        return
    rows = {} if summary.rows_matched is None else {"rows matched": summary.rows_matched}
    _show({**rows, **summary.metrics}, console)


def _show(metrics: Mapping[str, float], console: Console) -> None:
    table = Table("metric", "value", box=None, pad_edge=False)
    for name, value in metrics.items():
        table.add_row(escape(name), str(value) if isinstance(value, int) else f"{value:.4g}")
    console.print()
    console.print(table)


def guide(summary: "Summary", party: str, console: Console) -> None:
    """Say where to look next, at a party's results."""
    folder = summary.folder
    if summary.error:
        _complain(f"The run failed. What each party did: {folder}/*/logs")
        return
    mlflow = shutil.which("mlflow") or str(Path(sys.executable).parent / "mlflow")
    runs = folder / party / "mlflow.db"
    console.print()
    for what, file, where in (
        ("report", folder / party / "report.html", ""),
        ("what was opened", folder / party / "reveals.json", ""),
        ("summary", folder / "summary.json", ""),
        ("MLflow", runs, shlex.join([mlflow, "ui", "--backend-store-uri", f"sqlite:///{runs}"])),
    ):
        if file.exists():
            line = f"{what + ':':16} {where or file}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _complain(text: str) -> None:
    Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _errors() -> Iterator[None]:
    """End with the exit code of an error's kind, and with its message instead of a traceback."""
    try:
        yield
    except TallystickError as error:
        _complain(f"{type(error).__name__}: {error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


if __name__ == "__main__":
    app()
