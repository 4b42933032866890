"""The folder of one run: what belongs to whom, and what a later run may replace."""

import fcntl
import os
import random
import shutil
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TextIO

from tallystick.runtime.consortium import Consortium, Member
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.identity import CERTIFICATE_FILE, keygen

# Its presence says that a run made the folder; its lines say for which parties.
MARKER = ".tallystick"
# All that a run makes: in its folder, and in each party's. Nothing else is ever removed.
RUN_FILES = ("summary.json", ".consortium")
PARTY_FILES = (
    "pipeline",
    "logs",
    "model",
    "trained",
    "prepared",
    "metrics.json",
    "reveals.json",
    "report.html",
    "aligned.parquet",
    "predictions.parquet",
    "mlflow.db",
    "mlartifacts",
    ".tmp",
)
# What a party's and the dealer's processes write.
PARTY_LOG = Path("logs", "pipeline.log")
DEALER_LOG = Path("logs", "dealer.log")
# Below the ports that systems give to outgoing connections, which could take one between steps.
PORTS = range(20_000, 32_000)


class Workspace:
    """The folder of one run, held by this process alone."""

    def __init__(self, folder: Path, members: Iterable[str]) -> None:
        """Make the folder, or empty it of what an earlier run left.

        Args:
            folder: where the results go.
            members: names of the parties and the dealer, one folder each.

        Raises:
            ConfigError: the folder holds something else, cannot be written, or is in use.
        """
        self.folder = folder.resolve()
        self._members = tuple(members)
        try:
            self._marker = self._claim()
            for name in self._members:
                (self.folder / name / "logs").mkdir(parents=True, exist_ok=True)
                (self.folder / name / ".tmp").mkdir()
        except OSError as error:
            raise ConfigError(
                f"{folder} cannot hold the results: {error.strerror}: {error.filename}"
            ) from None

    @property
    def consortium(self) -> Path:
        """The consortium file, in a folder that its owner alone can read."""
        return self.folder / ".consortium" / "consortium.yaml"

    @property
    def summary(self) -> Path:
        """The file that says how the run went."""
        return self.folder / "summary.json"

    def of(self, member: str) -> Path:
        """Return the folder of a party or the dealer."""
        return self.folder / member

    def identity(self, member: str) -> Path:
        """Return the folder with a member's key and certificate."""
        return self.consortium.parent / member

    def found_consortium(
        self, parties: Iterable[str], dealer: str, addresses: Mapping[str, str]
    ) -> None:
        """Make a key and a certificate for each member, and the file that lists them."""
        self.consortium.parent.mkdir(mode=0o700)
        listed = {}
        for name in self._members:
            keygen(name, self.identity(name))
            listed[name] = Member(
                name=name,
                address=addresses[name],
                certificate=(self.identity(name) / CERTIFICATE_FILE).read_text(),
            )
        Consortium(parties=tuple(listed[party] for party in parties), dealer=listed[dealer]).save(
            self.consortium
        )

    def close(self) -> None:
        """Remove what nobody needs any more, and let go of the folder."""
        for name in self._members:
            shutil.rmtree(self.of(name) / ".tmp", ignore_errors=True)
        self._marker.close()

    def _claim(self) -> TextIO:
        marker = self.folder / MARKER
        if self.folder.is_dir() and any(self.folder.iterdir()) and not marker.is_file():
            raise ConfigError(
                f"{self.folder} holds files that no run has made; "
                "choose an empty or a new folder with --out"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(marker, os.O_RDWR | os.O_CREAT, 0o644), "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise ConfigError(
                f"another run is writing to {self.folder}; wait for it, or choose another --out"
            ) from None
        self._forget(file.read().split())
        file.seek(0)
        file.truncate()
        file.write("\n".join(self._members) + "\n")
        file.flush()
        return file

    def _forget(self, members: Iterable[str]) -> None:
        """Remove what an earlier run of these members left behind, and that alone."""
        left = [self.folder / name for name in RUN_FILES]
        # A name with a slash was written by nobody of ours.
        folders = [self.folder / name for name in members if Path(name).name == name]
        left += [folder / name for folder in folders for name in PARTY_FILES]
        for path in left:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for folder in folders:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def free_ports(count: int) -> list[int]:
    """Find loopback ports that nothing listens on.

    Raises:
        ConfigError: nearly all are taken.
    """
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            break
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                continue
    if len(found) < count:
        raise ConfigError(f"no {count} free ports on 127.0.0.1 from {PORTS.start} to {PORTS.stop}")
    return found
