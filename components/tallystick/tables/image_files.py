"""Where images come from: a folder by class, named files, or arrays (IDX, NPY, NPZ).

==================================  ============================================================
what                                how its images and labels are found
==================================  ============================================================
a folder of folders                 each folder is a class, its name is the label; in name order
a folder of PNG, JPEG, BMP, TIFF    in name order; no label
IDX, as MNIST is published          ``...idx3-ubyte``, gzip or not; labels in a file of their own
``.npy``                            [N, H, W], [N, H, W, C] or [N, C, H, W]; labels in their own
``.npz``                            the same under ``images`` (or ``x``), labels under ``labels``
                                    (or ``y``)
a column of file names              in the order of the table's rows, in a folder that is named
==================================  ============================================================
"""

# N = images, C = channels, H = height, W = width.

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tallystick.runtime.addresses import name_of
from tallystick.runtime.errors import DataError
from tallystick.tables.images import SUFFIXES, ImageRules, ImageSet

_IDX_TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def holds_images(location: str) -> bool:
    """Say whether images or arrays lie at a location, and no table."""
    path = Path(location)
    if path.is_dir():
        return any(entry.suffix.lower() in SUFFIXES for entry in _within(path))
    plain = path.name.lower().removesuffix(".gz")
    return plain.endswith((".npz", ".npy", "-ubyte", ".idx", *SUFFIXES))


def open_set(location: str, rules: ImageRules) -> ImageSet | pa.ChunkedArray:
    """Open what lies at a location: images, or labels alone.

    Raises:
        DataError: it is missing, damaged, or of another kind.
    """
    path = Path(location)
    labels = _labels(_array(Path(rules.labels), "labels")) if rules.labels else None
    if path.is_dir():
        files = [entry for entry in _within(path) if entry.suffix.lower() in SUFFIXES]
        if labels is None and all(entry.parent != path for entry in files):
            classes = [entry.relative_to(path).parts[0] for entry in files]
            labels = pa.chunked_array([pa.array(classes, pa.string())])
        return ImageSet(rules, files=files, labels=labels)
    if path.suffix == ".npz":
        array = _array(path, "images")
        with np.load(path, allow_pickle=False) as content:
            if labels is None and {"labels", "y"} & set(content.files):
                labels = _labels(_array(path, "labels"))
        return ImageSet(rules, array=array, labels=labels)
    array = _array(path, "images")
    if array.ndim == 1:
        return _labels(array)
    return ImageSet(rules, array=array, labels=labels)


def named_files(names: pa.ChunkedArray, rules: ImageRules) -> ImageSet:
    """Return the images that a column names.

    Raises:
        DataError: a file is missing, or lies outside the folder.
    """
    folder = Path(rules.folder).resolve()
    files = [folder / str(name) for name in names.to_pylist()]
    bad = sum(not (f.resolve().is_relative_to(folder) and f.is_file()) for f in files)
    if bad:
        raise DataError(
            f"column {rules.column!r} names no file of images.folder in {bad} of {len(files)} "
            "rows; check the folder and the names"
        )
    return ImageSet(rules, files=files)


def _within(path: Path) -> list[Path]:
    """Return the files of a folder and of its folders, in an order that is the same everywhere."""
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    inner = [file for e in entries if e.is_dir() for file in e.iterdir() if file.is_file()]
    return sorted([*(e for e in entries if e.is_file()), *inner], key=lambda e: e.as_posix())


def _array(path: Path, what: str) -> NDArray[Any]:
    aliases = {"images": ("images", "x"), "labels": ("labels", "y")}[what]
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as content:
                name = next(name for name in aliases if name in content.files)
                found: NDArray[Any] = content[name]
        elif path.suffix == ".npy":
            found = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            found = _idx(path)
    except FileNotFoundError:
        raise DataError(f"there is no file {name_of(path)!r}; check the data path") from None
    except StopIteration:
        raise DataError(
            f"{path.name!r} holds no array {' or '.join(map(repr, aliases))}; name it so"
        ) from None
    except (OSError, ValueError, EOFError, KeyError, IndexError):
        raise DataError(
            f"{path.name!r} cannot be read as an array; write it again as NPY, NPZ or IDX"
        ) from None
    if found.dtype.kind not in "uif" and what == "images":
        raise DataError(f"{path.name!r} holds no numbers, and so no images")
    if found.ndim not in (1, 3, 4):
        raise DataError(
            f"{path.name!r} holds an array of {found.ndim} dimensions; images have 3 or 4 "
            "(N, H, W and channels), labels 1"
        )
    return found


def _idx(path: Path) -> NDArray[Any]:
    raw = path.read_bytes()
    content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    if content[:2] != b"\0\0" or len(content) < 4:
        raise ValueError("no IDX")
    dtype, dimensions = np.dtype(_IDX_TYPES[content[2]]), content[3]
    begin = 4 + 4 * dimensions
    shape = np.frombuffer(content, ">u4", dimensions, 4).astype(int)
    found = np.frombuffer(content, dtype, offset=begin)
    return found.reshape(shape).astype(dtype.newbyteorder("="))


def _labels(array: NDArray[Any]) -> pa.ChunkedArray:
    if array.ndim != 1:
        raise DataError("labels must be an array of one dimension, one for each image")
    return pa.chunked_array([pa.array(array.tolist())])
