"""A job of one's own: run here, submitted to a Kubeflow, or estimated."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tallystick.cli.results import guide, report, show
from tallystick.cli.root import app, complain, errors
from tallystick.job import EXAMPLE, Job
from tallystick.runtime.errors import ConfigError

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

Times are from when the members have met: the seconds in which their processes start come on top, \
and whatever else a machine does meanwhile. All on this machine, they share its processors.
"""
SUBMIT_HELP = """Submit one party's side of a job to its own Kubeflow, and follow it to its end.

Sends the compiled package with the parameters of the job file, and no others. A relative path \
of a table is one below /data, where the party's claim is mounted. Every party submits its own \
side; where one fails, all do.
"""
JobFile = Annotated[
    Path, typer.Argument(metavar="JOB.yaml", help="The job file.", show_default=False)
]


class RunnerName(StrEnum):
    """What a step is, on this machine."""

    PROCESSES = "processes"
    DOCKER = "docker"


@app.command(help=RUN_HELP)
def run(
    job_file: JobFile,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where results go: a new folder, or that of an earlier run, whose results are "
            "replaced once this run has succeeded. "
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
    with errors():
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
    job_file: JobFile,
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
    with errors():
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
                show(tracking.metrics(mlflow, session=job.session, party=party), Console())
            except ConfigError as error:  # the run went well all the same
                complain(str(error))


@app.command(help=ESTIMATE_HELP)
def estimate(
    job_file: JobFile,
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
    with errors():
        job = Job.load(job_file)
        from tallystick import estimate as estimation
        from tallystick.runtime import cores
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
            processors=cores.available(),
            round_trip_s=round_trip_ms / 1000,
            bandwidth=bandwidth_mbit * 1e6 / 8,
        )
        network = f"{round_trip_ms:g} ms and {bandwidth_mbit:g} Mbit/s apart"
        estimation.show(outlook, Console(), network=network)
