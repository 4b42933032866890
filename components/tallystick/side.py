"""The file of ``tallystick serve``: one party's side of a service."""

import dataclasses
from pathlib import Path

from tallystick import job
from tallystick.package import names, suggestion
from tallystick.predict.serve import Config
from tallystick.runtime.configuration import JSON
from tallystick.runtime.errors import ConfigError

PATHS = job.PATHS | {"consortium", "identity", "reveals", "aligned", "tls", "token"}


def load(path: Path) -> dict[str, JSON]:
    """Read the file; what its values must be is the step's to check.

    Raises:
        ConfigError: it cannot be read, or holds a key that the step does not know.
    """
    content = job.read(path)
    known = [field.name for field in dataclasses.fields(Config)]
    for key in content:
        if key not in known:
            raise ConfigError(
                f"{path}: unknown key {key!r}{suggestion(key, known)} It may hold {names(known)}"
            )
    folder = path.resolve().parent
    reveals = f"{content.get('session')}-{content.get('party')}-reveals.md"
    content = {"reveals": reveals, **content}
    return {name: job.placed(folder, name, entry, PATHS) for name, entry in content.items()}
