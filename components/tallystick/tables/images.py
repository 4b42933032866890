"""Images as a table's rows, and what is done to them.

A pixel becomes a number from 0 to 1 (:mod:`tallystick.tables.pixels`), and then what ``mean`` and
``deviation`` make of it.
"""

# N = images, n = some of them, C = channels, H = height, W = width.

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.runtime.errors import ConfigError, DataError
from tallystick.tables import pixels, preparation

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_MOST_CHANNELS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageRules:
    """How images become numbers: the ``images`` of a job, the same for all images of a model."""

    size: tuple[int, ...] = ()
    """Height and width that every image is brought to; by default they must be alike."""
    colour: str = ""
    """grey or rgb; by default what the first image has."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted from every pixel, once for all channels or for each."""
    deviation: tuple[float, ...] = (1.0,)
    """Divides every pixel, once for all channels or for each."""
    labels: str = ""
    """A file of labels, in the order of the images: IDX or NPY."""
    folder: str = ""
    """Where the files lie that a column names."""
    column: str = ""
    """The column of the table that names each row's file."""

    @classmethod
    def parse(cls, given: Mapping[str, Any]) -> Self:
        """Take them from the parameter of a job.

        Raises:
            ConfigError: names the key, and what is allowed.
        """
        known = set(cls.__dataclass_fields__)
        if unknown := sorted(given.keys() - known):
            raise ConfigError(
                f"images has no key {unknown[0]!r}; it knows {', '.join(sorted(known))}"
            )
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in given.items()
        }
        for key in ("labels", "folder", "column", "colour"):
            if not isinstance(values.get(key, ""), str):
                raise ConfigError(f"images.{key} must be text")
        for key in ("mean", "deviation"):
            value = values.get(key, (1.0,))
            values[key] = value if isinstance(value, tuple) else (value,)
            if not all(_is_number(v) and (v > 0 or key == "mean") for v in values[key]):
                raise ConfigError(f"images.{key} must be a number, or one for each channel")
            if key not in given:
                del values[key]
        size = values.get("size", ())
        if size and not (len(size) == 2 and all(_is_number(s) and 1 <= s <= 4096 for s in size)):
            raise ConfigError("images.size must be height and width, each from 1 to 4096")
        values["size"] = tuple(int(length) for length in size)
        if values.get("colour", "") not in ("", *pixels.COLOURS):
            raise ConfigError(f"images.colour must be one of {', '.join(pixels.COLOURS)}")
        if bool(values.get("column")) != bool(values.get("folder")):
            raise ConfigError("images.column and images.folder go together; give both or neither")
        return cls(**values)


class ImageSet:
    """A party's images, in the order of its rows.

    Args:
        rules: how they become numbers.
        array: all of them, [N, H, W] or with channels; None where they lie in files.
        files: one for each row, where they do.
        labels: what the images themselves say, if they say it.

    Raises:
        DataError: there is no image, or they cannot be brought to one shape.
    """

    NAME = "image"

    def __init__(
        self,
        rules: ImageRules,
        *,
        array: NDArray[Any] | None = None,
        files: Sequence[Path] = (),
        labels: pa.ChunkedArray | None = None,
    ) -> None:
        self.labels = labels
        self.rows = len(files) if array is None else len(array)
        self._rules = rules
        self._files = files
        self._array = None if array is None else _channels_last(array)
        if not self.rows:
            raise DataError("there are no images; check the data path")
        if labels is not None and len(labels) != self.rows:
            raise DataError(f"{self.rows} images have {len(labels)} labels; each must have one")
        height, width, channels = self._image(0).shape
        for name in ("mean", "deviation"):
            if len(getattr(rules, name)) not in (1, channels):
                raise ConfigError(
                    f"images.{name} must hold one number or {channels}, one for each channel"
                )
        self.shape = (channels, height, width)

    def block(self, rows: slice) -> NDArray[np.float64]:
        """Return some images as they are shared: float64 [n, C * H * W].

        Raises:
            DataError: an image has another shape than the first.
        """
        images = [self._image(row) for row in range(*rows.indices(self.rows))]
        channels, height, width = self.shape
        for image in images:
            if image.shape != (height, width, channels):
                raise DataError(
                    f"the images are not of one shape: one is {image.shape[0]} x {image.shape[1]} "
                    f"with {image.shape[2]} channels, the first {height} x {width} with "
                    f"{channels}; give images.size and images.colour"
                )
        scaled = (np.stack(images) - np.array(self._rules.mean)) / np.array(self._rules.deviation)
        found_nCHW: NDArray[np.float64] = scaled.transpose(0, 3, 1, 2).reshape(len(images), -1)
        preparation.require_small(found_nCHW, (self.NAME,) * math.prod(self.shape))
        return found_nCHW

    def _image(self, row: int) -> NDArray[np.float64]:
        """Return one image [H, W, C], from 0 to 1."""
        from PIL import Image

        rules = self._rules
        try:
            if self._array is not None:
                return pixels.of_array(self._array[row], rules.size, rules.colour)
            return pixels.of_file(self._files[row], rules.size, rules.colour)
        except (OSError, ValueError, TypeError, SyntaxError, Image.DecompressionBombError):
            raise DataError(
                f"image {row + 1} of {self.rows} cannot be read; check that it is a whole image of "
                f"a known kind ({', '.join(SUFFIXES)})"
            ) from None


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 3:
        return array[:, :, :, None]
    if array.shape[3] > _MOST_CHANNELS and array.shape[1] <= _MOST_CHANNELS:
        return array.transpose(0, 2, 3, 1)
    return array


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
