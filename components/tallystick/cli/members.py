"""Among the members of a consortium: keys, a check, and the services that stay up."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from tallystick.cli.root import app, errors
from tallystick.job import SIDE_EXAMPLE
from tallystick.runtime.errors import PeerError

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
    with errors():
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
    with errors():
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
    with errors():
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
    with errors():
        from tallystick.runtime.dealer.__main__ import serve

        code = serve(consortium, identity, metrics_port)
    raise typer.Exit(code)
