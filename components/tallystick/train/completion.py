"""A training that has ended, kept beside its checkpoints: the others may have gone on without us.

A pod may be killed when its training has ended at every party, and before Kubeflow has taken its
outputs. The others are at the next step then and never come back for this one. So each party keeps
what it published, and one that waits in vain publishes it once more. Whenever the parties do meet
again, all forget it first: what is kept is of the last training that all of them were in.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pyarrow import fs

from tallystick.models import checkpoints
from tallystick.runtime import events, life
from tallystick.tables.shares import Shares
from tallystick.train.configuration import Config

_RECORD = "record.json"


class Completion:
    """One party's outputs of a training that has ended, in ``ROOT/SESSION/PARTY/finished``.

    Args:
        config: the step's configuration. Without checkpoints nothing is kept.
        data: the shares that are trained on.
    """

    def __init__(self, config: Config, data: Shares) -> None:
        self._used = bool(config.checkpoints) and config.resume
        self._outputs = {"trained": config.trained, "reveals": config.reveals}
        identity = json.dumps([config.joint(), data.manifest.joint], sort_keys=True)
        self._identity = hashlib.sha256(identity.encode()).hexdigest()
        if self._used:
            place = config.checkpoints, config.session, config.party
            self._store, folder = checkpoints.opened(*place)
            self._folder = f"{folder}/finished"

    def forget(self) -> None:
        """Remove what is kept: the parties are together again."""
        if not self._used:
            return
        with checkpoints.reaching():
            if self._store.get_file_info(self._folder).type != fs.FileType.NotFound:
                self._store.delete_dir(self._folder)

    def keep(self, results: Mapping[str, float]) -> None:
        """Keep the published outputs; the record comes last and makes them count."""
        if not self._used:
            return
        record = {"identity": self._identity, "results": results, "reveals": life.outcome.reveals}
        try:
            for name, path in self._outputs.items():
                _copy(fs.LocalFileSystem(), str(path), self._store, f"{self._folder}/{name}")
            with self._store.open_output_stream(f"{self._folder}/{_RECORD}") as stream:
                stream.write(json.dumps(record).encode())
        except OSError as error:  # the training ended well all the same
            events.emit(
                "warning",
                message=f"what the training left is not kept ({type(error).__name__}); check the "
                "free space for checkpoints",
            )

    def restore(self) -> dict[str, float]:
        """Publish what is kept, if it is of this training, and return its results; else nothing."""
        record = self._record()
        if record.get("identity") != self._identity:
            return {}
        with checkpoints.reaching():
            for name, path in self._outputs.items():
                _copy(self._store, f"{self._folder}/{name}", fs.LocalFileSystem(), str(path))
        life.outcome.reveals, life.outcome.results = record["reveals"], record["results"]
        events.emit(
            "warning",
            message="nobody came, for this training has ended at every party before; what it "
            "left is published again",
        )
        results: dict[str, float] = record["results"]
        return results

    def _record(self) -> dict[str, Any]:
        if not self._used:
            return {}
        try:
            with self._store.open_input_stream(f"{self._folder}/{_RECORD}") as stream:
                record: dict[str, Any] = json.loads(stream.read())
        except (OSError, ValueError):
            return {}
        return record


def _copy(store: fs.FileSystem, source: str, other: fs.FileSystem, target: str) -> None:
    """Copy a file or a folder."""
    folder = store.get_file_info(source).type == fs.FileType.Directory
    other.create_dir(target if folder else target.rpartition("/")[0], recursive=True)
    fs.copy_files(source, target, store, other)
