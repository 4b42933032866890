"""The ``tallystick`` command itself, and how each of its commands fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console

from tallystick import __version__
from tallystick.runtime.errors import TallystickError

app = typer.Typer(
    name="tallystick",
    help="Train, evaluate and use one model on the joined data of several organisations, none of "
    "which shows another a row.\n\nBegin with [bold]tallystick demo[/bold].",
    rich_markup_mode="rich",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


@contextmanager
def errors() -> Iterator[None]:
    """End with the exit code of an error's kind, and with its message instead of a traceback."""
    try:
        yield
    except TallystickError as error:
        complain(f"{type(error).__name__}: {error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def complain(text: str) -> None:
    """Say on standard error what went wrong."""
    Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)
