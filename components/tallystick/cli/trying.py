"""Before one's own data meet others': a demonstration, a comparison, a look at a table."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tallystick.cli.jobs import JobFile
from tallystick.cli.results import guide, report
from tallystick.cli.root import app, errors
from tallystick.job import Job

DEMO_HELP = """Two organisations train one model on this machine, in about a minute.

Splits scikit-learn's breast-cancer data by column into two files, runs a job on them, and \
compares the model with a plaintext one and with what one side could reach alone. With \
[bold]--model lenet[/bold] a network learns to read digits of which each side has half: minutes.
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
    with errors():
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
    job_file: JobFile,
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
    with errors():
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
    with errors():
        from tallystick import inspection

        inspection.show(table, job, reading, Console())
