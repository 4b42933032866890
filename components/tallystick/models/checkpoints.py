"""Checkpoints: each party's share of a training's state, in a place that outlives the process.

::

    ROOT/SESSION/PARTY/000000120/state.safetensors    int64 shares: model, optimiser, best model
                                 manifest.json        joint: where the training is, and its identity

ROOT is a folder or an address that pyarrow.fs knows, such as s3://bucket/prefix. For each one:

1. every party writes its state, and says so to all, with 16 random bytes of its own;
2. when all have said so, each writes the manifest, which makes the checkpoint count. It holds
   everybody's bytes: shares of two attempts never pass for one checkpoint;
3. the checkpoint before the last one is removed.

A party begins step 1 only when its manifest of the checkpoint before is there. So however the
parties are stopped, the latest checkpoint of one is at most one ahead of another's, and the one
before it is still there at all.
"""

import hashlib
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyarrow import fs
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from tallystick.runtime.addresses import name_of, without_credentials
from tallystick.runtime.errors import ConfigError, DataError, PeerMismatch
from tallystick.runtime.session import Session

STATE = "state.safetensors"
MANIFEST = "manifest.json"
FORMAT = 1
_KEPT = 2


@dataclass(kw_only=True, slots=True)
class Checkpoint:
    """One party's share of a training's state."""

    state: dict[str, Tensor]
    """int64 shares, by name."""
    progress: dict[str, Any]
    """Where the training is; public."""
    numbers: dict[str, float]
    """What is public of the optimiser."""

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the shares whose names begin with a prefix, without it."""
        begin = f"{prefix}."
        return {k.removeprefix(begin): v for k, v in self.state.items() if k.startswith(begin)}


class Checkpoints:
    """A party's checkpoints of one training.

    Args:
        session: the joined session.
        address: the root; empty to keep none.
        identity: what the training is, by field: shares of another are refused.
        resume: whether what is there may be gone on from.
    """

    def __init__(
        self, session: Session, address: str, identity: dict[str, Any], *, resume: bool
    ) -> None:
        self._session = session
        self._identity = identity
        self._resume = resume
        self._number = 0
        if address:
            self._store, self._folder = opened(address, session.name, session.party)
        self._used = _agreed(session, bool(address))

    def write(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint together with all parties.

        Raises:
            PeerError: a party went away; the checkpoint before still counts.
            DataError: it cannot be written.
        """
        if not self._used:
            return
        number = self._number + 1
        folder = f"{self._folder}/{number:09d}"
        content = save(checkpoint.state)
        self._put(f"{folder}/{STATE}", content)
        said = self._session.exchange({"checkpoint": number, "nonce": secrets.token_hex(16)})
        manifest = {
            "format": FORMAT,
            "session": self._session.name,
            "party": self._session.party,
            "number": number,
            "bundle": _bundle(said),
            "identity": self._identity,
            "progress": checkpoint.progress,
            "numbers": checkpoint.numbers,
            "digest": hashlib.sha256(content).hexdigest(),
        }
        self._put(f"{folder}/{MANIFEST}", json.dumps(manifest, indent=2).encode())
        self._number = number
        for old in self._numbers()[:-_KEPT]:
            self._remove(old)

    def latest(self) -> Checkpoint | None:
        """Return this party's share of the latest checkpoint that all parties have.

        Raises:
            ConfigError: what is there is of another training.
            DataError: a file is damaged, or another party's.
            PeerMismatch: the parties' checkpoints have none in common.
        """
        if not self._used:
            return None
        manifests = {}
        if self._resume:
            manifests = {number: self._manifest(number) for number in self._numbers()}
        ours = {str(number): m["bundle"] for number, m in manifests.items()}
        said = self._session.exchange({"checkpoints": ours})
        theirs = [_bundles(answer.get("checkpoints")) for answer in said]
        common = [
            n for n, m in manifests.items() if all(their.get(n) == m["bundle"] for their in theirs)
        ]
        if not common:
            # Of the first one, some may have no manifest yet; of a later one all have one before.
            if any(n > 1 for their in theirs for n in their):
                raise PeerMismatch(
                    "the parties' checkpoints of this session have none in common "
                    f"({self._held(theirs)}); give each its own latest ones, or set resume to "
                    "false at all parties, or remove them at all"
                )
            self._clear()
            return None
        self._number = max(common)
        for later in [number for number in manifests if number > self._number]:
            self._remove(later)
        return self._load(manifests[self._number])

    def _held(self, theirs: list[dict[int, str]]) -> str:
        held = zip(self._session.parties, theirs, strict=True)
        return "; ".join(
            f"{party!r} has {', '.join(map(str, their)) or 'none'}" for party, their in held
        )

    def _manifest(self, number: int) -> dict[str, Any]:
        """Read a manifest, and refuse what is not this training's at this party."""
        try:
            manifest: dict[str, Any] = json.loads(
                self._get(f"{self._folder}/{number:09d}/{MANIFEST}")
            )
            owner, session = manifest["party"], manifest["session"]
            found, identity = manifest["number"], manifest["identity"]
            if manifest["format"] != FORMAT or not isinstance(manifest["bundle"], str):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"checkpoint {number}: {MANIFEST} cannot be read; remove the folder of this "
                "checkpoint, or set resume to false"
            ) from None
        if owner != self._session.party or session != self._session.name or found != number:
            raise DataError(
                f"checkpoint {number} holds the shares of party {owner!r} of session {session!r}, "
                f"checkpoint {found}; each party needs its own"
            )
        if differing := sorted(
            key
            for key in identity.keys() | self._identity.keys()
            if identity.get(key) != self._identity.get(key)
        ):
            raise ConfigError(
                f"checkpoint {number} is of another training: {', '.join(differing)} differs; "
                "set resume to false to begin anew, or take another name for the session"
            )
        return manifest

    def _load(self, manifest: dict[str, Any]) -> Checkpoint:
        number = manifest["number"]
        content = self._get(f"{self._folder}/{number:09d}/{STATE}")
        try:
            if hashlib.sha256(content).hexdigest() != manifest["digest"]:
                raise SafetensorError
            return Checkpoint(
                state=load(content), progress=manifest["progress"], numbers=manifest["numbers"]
            )
        except SafetensorError:
            raise DataError(
                f"checkpoint {number}: {STATE} was altered or damaged since it was written; "
                "remove the folder of this checkpoint at every party"
            ) from None

    def _numbers(self) -> list[int]:
        """Return the checkpoints that count, ascending: those with a manifest."""
        selector = fs.FileSelector(self._folder, recursive=True, allow_not_found=True)
        with reaching():
            paths = [info.path.split("/") for info in self._store.get_file_info(selector)]
        found = [parts[-2] for parts in paths if parts[-1] == MANIFEST]
        return sorted(int(name) for name in found if name.isdecimal())

    def _clear(self) -> None:
        """Remove what an earlier attempt left that does not count."""
        with reaching():
            if self._store.get_file_info(self._folder).type != fs.FileType.NotFound:
                self._store.delete_dir(self._folder)

    def _remove(self, number: int) -> None:
        with reaching():
            self._store.delete_dir(f"{self._folder}/{number:09d}")

    def _put(self, path: str, content: bytes) -> None:
        try:
            self._store.create_dir(path.rpartition("/")[0], recursive=True)
            # Whole or not at all: an object store's put is, and so is a renaming in a folder.
            beside = f"{path}.unfinished" if isinstance(self._store, fs.LocalFileSystem) else path
            with self._store.open_output_stream(beside) as stream:
                stream.write(content)
            if beside != path:
                self._store.move(beside, path)
        except OSError as error:
            raise DataError(
                f"the checkpoint cannot be written ({type(error).__name__}); check the address and "
                "its free space, or leave checkpoints empty"
            ) from None

    def _get(self, path: str) -> bytes:
        try:
            with self._store.open_input_stream(path) as stream:
                content: bytes = stream.read()
        except OSError as error:
            raise DataError(
                f"a checkpoint cannot be read ({type(error).__name__}: {path.rsplit('/', 2)[-2]}); "
                "check the address"
            ) from None
        return content


def opened(address: str, session: str, party: str) -> tuple[Any, str]:
    """Return the file system that an address is of, and a party's folder in it.

    Raises:
        ConfigError: there is no such file system.
    """
    store, root = fs.LocalFileSystem(), str(Path(address).absolute())
    if "://" in address:
        try:
            store, root = fs.FileSystem.from_uri(address)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"checkpoints: {without_credentials(address)} cannot be opened "
                f"({type(error).__name__}); give a folder or an address such as s3://bucket/prefix"
            ) from None
    return store, f"{root.rstrip('/')}/{session}/{party}"


def require_writable(address: str, session: str, party: str) -> None:
    """Write a file where checkpoints are to lie and remove it, before anybody is waited for.

    Raises:
        ConfigError: that cannot be done.
    """
    store, folder = opened(address, session, party)
    probe = f"{folder}/.{secrets.token_hex(8)}"
    try:
        store.create_dir(folder, recursive=True)
        with store.open_output_stream(probe) as stream:
            stream.write(b"tallystick")
        store.delete_file(probe)
    except OSError as error:
        raise ConfigError(
            f"checkpoints: {name_of(address)!r} cannot be written to ({type(error).__name__}); "
            "check the address, its free space and what this pod may do there, or leave "
            "checkpoints empty"
        ) from None


@contextmanager
def reaching() -> Iterator[None]:
    """Let what a store cannot do be an error that a user can read.

    Raises:
        DataError: in place of an OSError, whose text may hold the address.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"the checkpoints are out of reach ({type(error).__name__}); check the address, and "
            "start again"
        ) from None


def _agreed(session: Session, wanted: bool) -> bool:
    """Refuse that some keep checkpoints and others do not.

    Raises:
        ConfigError: naming who does not.
    """
    said = [bool(answer.get("keeps")) for answer in session.exchange({"keeps": wanted})]
    if any(said) and not all(said):
        without = [party for party, keeps in zip(session.parties, said, strict=True) if not keeps]
        raise ConfigError(
            f"{', '.join(map(repr, without))} keeps no checkpoints and others do; give each party "
            "a place for checkpoints, or none"
        )
    return all(said)


def _bundle(said: list[dict[str, Any]]) -> str:
    numbers = {answer.get("checkpoint") for answer in said}
    if len(numbers) != 1:
        raise PeerMismatch("the parties are not at the same checkpoint; start them again together")
    nonces = [str(answer.get("nonce"))[:64] for answer in said]
    return hashlib.sha256(json.dumps(nonces).encode()).hexdigest()


def _bundles(said: object) -> dict[int, str]:
    """Read which checkpoints a party says it has."""
    found = said.items() if isinstance(said, dict) else ()
    return {int(number): str(bundle) for number, bundle in found if number.isdecimal()}
