"""The work that is worth a process of its own: a function for each kind, from bytes to bytes.

Keys and ids are in the payloads, so these stay between a party's own processes.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from tallystick.psi import group, shapes
from tallystick.psi.pseudonyms import KEY_BYTES, pseudonyms
from tallystick.tables import ids
from tallystick.tables.arrays import Bytes


@dataclass(frozen=True, slots=True)
class Work:
    """What goes to a task and what comes from it."""

    payload: bytes
    about: dict[str, Any] = field(default_factory=dict)
    """JSON values."""


def encode(work: Work) -> Work:
    """Bring id columns into one form.

    Takes a key (32 bytes) and an Arrow stream of one batch with the id columns; and the ``forms``
    of ids. Gives the ``rows`` ids, encoded: where each begins, and the end, as int32; their bytes;
    and 16 bytes under the key for each. Says how many values of each column are ``empty``, and
    counts ``shapes``.
    """
    with pa.ipc.open_stream(memoryview(work.payload)[KEY_BYTES:]) as stream:
        batch = stream.read_next_batch()
    columns = [ids.normalised(column, work.about["forms"]) for column in batch.columns]
    empty = [int(np.count_nonzero(Bytes.of(column).lengths_N == 0)) for column in columns]
    found = ids.encoded(columns)
    _, ends, content = found.buffers()
    names_N16 = pseudonyms(work.payload[:KEY_BYTES], found)
    payload = b"".join([ends.to_pybytes(), content.to_pybytes(), names_N16.tobytes()])
    about = {"rows": len(found), "empty": empty, "shapes": dict(shapes.sampled(columns))}
    return Work(payload, about)


def mask(work: Work) -> Work:
    """Multiply points by a secret number.

    Takes the number (32 bytes) and either digests, which are hashed to points first, or points.
    Gives points; none where one that came is no valid point, which ``valid`` says.
    """
    secret, content = work.payload[: group.SCALAR_BYTES], work.payload[group.SCALAR_BYTES :]
    try:
        return Work(group.masked(secret, content, hashed=work.about["hashed"]), {"valid": True})
    except group.InvalidPoint:
        return Work(b"", {"valid": False})


TASKS: Mapping[str, Callable[[Work], Work]] = {"encode": encode, "mask": mask}
