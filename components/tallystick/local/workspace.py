"""The folder of one run: what belongs to whom, and what a later run may replace."""

import fcntl
import json
import os
import random
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tallystick.runtime.consortium import Consortium, Member
from tallystick.runtime.errors import ConfigError
from tallystick.runtime.identity import CERTIFICATE_FILE, keygen

# Its presence says that a run made the folder; its lines say for which parties.
MARKER = ".tallystick"
# All that a run makes: in its folder, and in each party's. Nothing else is ever removed.
SUMMARY = "summary.json"
RUN_FILES = (SUMMARY, ".consortium")
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
# Where the results of a run that succeeded wait until another one has.
PREVIOUS = ".previous"
# What a party's and the dealer's processes write.
PARTY_LOG = Path("logs", "pipeline.log")
DEALER_LOG = Path("logs", "dealer.log")
# Below the ports that systems give to outgoing connections, which could take one between steps.
PORTS = range(20_000, 32_000)


class Workspace:
    """The folder of one run, held by this process alone."""

    def __init__(self, folder: Path, members: Iterable[str]) -> None:
        """Make the folder, or take hold of it; what an earlier run left in it stays.

        Args:
            folder: where the results go.
            members: names of the parties and the dealer, one folder each.

        Raises:
            ConfigError: the folder holds something else, cannot be written, or is in use.
        """
        self.folder = folder.resolve()
        self._members = tuple(members)
        with self._named_errors():
            self._marker = self._claim()

    def begin(self, used: Iterable[tuple[str, str, Path]] = ()) -> None:
        """Clear the folder of what an earlier run left, and make a place for each member.

        The results of a run that succeeded are moved aside, to :attr:`previous`.

        Args:
            used: the files and folders that the run to come reads: whose, by which parameter.

        Raises:
            ConfigError: one of these would be cleared away. Nothing was.
        """
        # A name with a slash was written by nobody of ours.
        earlier = [name for name in self._marker.read().split() if Path(name).name == name]
        left = self._left({*earlier, *self._members})
        for party, parameter, path in used:
            if any(path.resolve().is_relative_to(place) for place in (*left, self.previous)):
                raise ConfigError(
                    f"{party}: {parameter} is {path}, which is of the results that this run would "
                    "replace; choose another folder with --out"
                )
        with self._named_errors():
            self._clear(left)
            for folder in map(self.of, earlier):
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
            self._marker.seek(0)
            self._marker.truncate()
            self._marker.write("\n".join(self._members) + "\n")
            self._marker.flush()
            for name in self._members:
                (self.folder / name / "logs").mkdir(parents=True, exist_ok=True)
                (self.folder / name / ".tmp").mkdir()

    @property
    def consortium(self) -> Path:
        """The consortium file, in a folder that its owner alone can read."""
        return self.folder / ".consortium" / "consortium.yaml"

    @property
    def summary(self) -> Path:
        """The file that says how the run went."""
        return self.folder / SUMMARY

    @property
    def previous(self) -> Path:
        """Where the results of the last run that succeeded are, while a later one has not."""
        return self.folder / PREVIOUS

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

    def forget_previous(self) -> None:
        """Remove the results that a run before left: this one has succeeded."""
        shutil.rmtree(self.previous, ignore_errors=True)

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
        return file

    def _left(self, members: Iterable[str]) -> list[Path]:
        """Return all that runs of these members make, whether it is there or not."""
        own = [self.of(name) / file for name in members for file in PARTY_FILES]
        return [*(self.folder / name for name in RUN_FILES), *own]

    def _clear(self, left: Iterable[Path]) -> None:
        """Remove what an earlier run left behind, or move it aside, and that alone."""
        keep = self._succeeded()
        if keep:
            shutil.rmtree(self.previous, ignore_errors=True)
        for path in left:
            if keep and os.path.lexists(path) and path != self.consortium.parent:
                aside = self.previous / path.relative_to(self.folder)
                aside.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.rename(aside)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _succeeded(self) -> bool:
        """Say whether what is in the folder is of a run that succeeded."""
        try:
            return bool(json.loads(self.summary.read_text())["status"] == "succeeded")
        except (OSError, ValueError, LookupError, TypeError):
            return False

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{self.folder} cannot hold the results: {error.strerror}: {error.filename}"
            ) from None


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
