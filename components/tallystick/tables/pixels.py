"""One image's pixels as numbers from 0 to 1, brought to a size and a colour.

======================================  ==========================================================
stored as                               becomes
======================================  ==========================================================
8 bits (uint8, int8; grey, colour,      a part of the greatest number that they hold
palette)
16 bits (uint16; grey in a file)        the same, in full precision
fractions (an array of floats)          itself
other whole numbers, floats in a file   refused: which number is white, nobody knows
======================================  ==========================================================
"""

# C = channels, H = height, W = width.

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tallystick.runtime.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

GREY, RGB = "grey", "rgb"
COLOURS = {GREY: "L", RGB: "RGB"}
_LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue, as Pillow weighs them (ITU-R BT.601)."""
_KNOWN = (np.uint8, np.int8, np.uint16)


def of_file(path: Path, size: tuple[int, ...], colour: str) -> NDArray[np.float64]:
    """Read an image [H, W, C]; where no colour is given it is grey or RGB, as it is stored.

    Raises:
        DataError: its pixels have no known range.
        OSError, ValueError, TypeError, SyntaxError: it cannot be read.
    """
    from PIL import Image

    with Image.open(path) as image:
        if image.mode.startswith("I;16"):  # to Pillow, all above 255 is white
            return of_array(np.asarray(image)[:, :, None], size, colour)
        if image.mode in ("I", "F"):
            raise DataError(
                f"an image file holds pixels of 32 bits ({np.asarray(image).dtype}), and nobody "
                "knows which number is white; store 8 or 16 bits, or fractions in an .npy file"
            )
        return _of_bytes(image, size, colour)


def of_array(pixels_HWC: NDArray[Any], size: tuple[int, ...], colour: str) -> NDArray[np.float64]:
    """Bring an image's array [H, W, C] to a size and a colour, if any are given.

    Raises:
        DataError: its pixels have no known range.
        ValueError, TypeError: it has no such colour.
    """
    from PIL import Image

    if pixels_HWC.dtype == np.uint8 and (size or colour):
        grey = pixels_HWC.shape[2] == 1
        return _of_bytes(Image.fromarray(pixels_HWC[:, :, 0] if grey else pixels_HWC), size, colour)
    found = _coloured(_unit(pixels_HWC), colour)
    if not size:
        return found
    channels = [
        _resized(Image.fromarray(channel.astype(np.float32)), size)
        for channel in np.moveaxis(found, 2, 0)
    ]
    return np.stack([np.asarray(channel, np.float64) for channel in channels], axis=2)


def _of_bytes(image: "Image.Image", size: tuple[int, ...], colour: str) -> NDArray[np.float64]:
    image = image.convert(COLOURS.get(colour) or ("L" if image.mode in ("1", "L") else "RGB"))
    found = np.asarray(_resized(image, size) if size else image)
    return _unit(found if found.ndim == 3 else found[:, :, None])


def _resized(image: "Image.Image", size: tuple[int, ...]) -> "Image.Image":
    from PIL import Image

    height, width = size
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _coloured(found_HWC: NDArray[np.float64], colour: str) -> NDArray[np.float64]:
    channels = found_HWC.shape[2]
    if not colour or channels == {GREY: 1, RGB: 3}[colour]:
        return found_HWC
    if channels == 1:
        return np.repeat(found_HWC, 3, axis=2)
    if channels < 3:
        raise ValueError("two channels are no colour")
    if colour == RGB:
        return found_HWC[:, :, :3]
    grey: NDArray[np.float64] = found_HWC[:, :, :3] @ np.array(_LUMA)[:, None]
    return grey


def _unit(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Return whole numbers as parts of the greatest one; fractions stay as they are."""
    kind = pixels.dtype
    if kind.kind == "f":
        return pixels.astype(np.float64)
    if kind.newbyteorder("=") not in _KNOWN:
        raise DataError(
            f"the images are whole numbers of the type {kind}, and nobody knows which of them is "
            "white; store pixels as uint8 or uint16, or as fractions from 0 to 1"
        )
    return pixels / float(np.iinfo(kind).max)
