"""``manifest.json``: what an artifact is, who made it in which session, and from what."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from tallystick.runtime.addresses import name_of
from tallystick.runtime.errors import DataError

NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """The label on an artifact's folder."""

    kind: str
    """aligned, shares, model or export."""
    session: str
    party: str
    rank: int
    parties: tuple[str, ...]
    """Names in rank order."""
    joint: dict[str, Any]
    """What is the same at every party; compared by digest when a step loads the artifact."""
    history: tuple[dict[str, Any], ...] = ()
    """One entry for each step so far, oldest first: step, session, reveals."""
    files: dict[str, str] = field(default_factory=dict)
    """SHA-256 of each file in the folder, by name; filled in by :meth:`write`."""

    FORMAT: ClassVar[int] = 1

    def write(self, folder: Path) -> None:
        """Digest the folder's files and write the manifest beside them."""
        files = {
            path.relative_to(folder).as_posix(): file_digest(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != NAME
        }
        content = {"format": self.FORMAT, **dataclasses.asdict(self), "files": files}
        (folder / NAME).write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path, kind: str) -> Self:
        """Read a folder's manifest and check every file against it.

        Raises:
            DataError: no manifest, another kind or format, a missing or altered file.
        """
        path = folder / NAME
        try:
            content = json.loads(path.read_text())
            version = content.pop("format")
        except (OSError, ValueError, RecursionError, KeyError, AttributeError, TypeError):
            raise DataError(
                f"{name_of(folder)}: no readable {NAME} in it, so this is not a {kind} artifact of "
                "tallystick; give the folder that the step before wrote"
            ) from None
        if version != cls.FORMAT:
            raise DataError(
                f"{folder.name}: format version {version!r}, but this package reads {cls.FORMAT}; "
                "use the package version that wrote it"
            )
        if not _is_sound(content):
            raise DataError(f"{folder.name}: {NAME} is damaged; run the step again")
        content.update(parties=tuple(content["parties"]), history=tuple(content["history"]))
        manifest = cls(**content)
        if manifest.kind != kind:
            raise DataError(
                f"{folder.name}: a {manifest.kind} artifact where a {kind} artifact is needed"
            )
        for name, digest in manifest.files.items():
            file = folder / name
            if not _is_file_within(file, folder):
                raise DataError(f"{folder.name}: the file {name} is missing; run the step again")
            if file_digest(file) != digest:
                raise DataError(
                    f"{folder.name}: the file {name} was altered or damaged since it was written; "
                    "run the step again"
                )
        return manifest

    def digests(self) -> dict[str, str]:
        """Return the SHA-256 of each thing that is the same at every party, by name."""
        same = {"parties": self.parties, "session": self.session, **self.joint}
        return {
            name: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
            for name, value in same.items()
        }

    def require_party(self, party: str) -> None:
        """Refuse another party's artifact.

        Raises:
            DataError: the artifact belongs to somebody else.
        """
        if self.party != party:
            raise DataError(
                f"this {self.kind} artifact belongs to party {self.party!r}, not to {party!r}"
            )


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_sound(content: dict[str, Any]) -> bool:
    """Say whether a manifest has its fields, each of the right type, and no others."""
    types = {"kind": str, "session": str, "party": str, "rank": int, "parties": list}
    types |= {"joint": dict, "history": list, "files": dict}
    return (
        content.keys() == types.keys()
        and all(isinstance(content[name], kind) for name, kind in types.items())
        and all(isinstance(name, str) for name in content["parties"])
        and all(isinstance(entry, dict) for entry in content["history"])
        and all(isinstance(digest, str) for digest in content["files"].values())
    )


def _is_file_within(file: Path, folder: Path) -> bool:
    try:
        return file.resolve().is_relative_to(folder.resolve()) and file.is_file()
    except (OSError, ValueError):
        return False
