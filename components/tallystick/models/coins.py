"""Public random choices of one batch: the same at every party, and in plaintext.

They hide nothing: which units a Dropout leaves out says nothing of the data. Drawn as raw words of
Philox, as batches are (see ``tables/split.py``), so that no library's version changes them.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Coins:
    """The coins of one batch."""

    seed: int
    epoch: int
    batch: int

    def kept(self, node: str, shape: Sequence[int], p: float) -> Tensor:
        """Return which elements a Dropout keeps: int64, nought or one.

        Args:
            node: its name.
            shape: of its input.
            p: the part that is left out.
        """
        purpose = f"tallystick dropout {node}, {self.seed}, {self.epoch}, {self.batch}"
        key = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:16], "big")
        words = np.random.Philox(key=key).random_raw(math.prod(shape))
        kept = words >= np.uint64(min(int(p * 2**64), 2**64 - 1))
        return torch.from_numpy(kept.astype(np.int64)).reshape(*shape)
