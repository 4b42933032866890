"""Images: folders, arrays and files that a column names become numbers as they are declared."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tallystick.runtime.errors import ConfigError, DataError
from tallystick.tables import image_files
from tallystick.tables.images import ImageRules, ImageSet

PIXELS = (load_digits().images[:12] * 15.9).astype(np.uint8)
LABELS = load_digits().target[:12]


def idx(array: np.ndarray) -> bytes:
    """An array as MNIST is published."""
    kind = {"u1": 8, "f4": 13}[array.dtype.str[1:]]
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return gzip.compress(head + array.astype(array.dtype.newbyteorder(">")).tobytes())


def opened(path: Path, **rules: Any) -> ImageSet:
    assert image_files.holds_images(str(path))
    found = image_files.open_set(str(path), ImageRules.parse(rules))
    assert isinstance(found, ImageSet)
    return found


def all_of(found: ImageSet) -> np.ndarray:
    return found.block(slice(0, found.rows)).reshape(found.rows, *found.shape)


def test_arrays_are_read_whatever_holds_them(tmp_path: Path) -> None:
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(idx(PIXELS))
    (tmp_path / "labels-idx1-ubyte.gz").write_bytes(idx(LABELS.astype(np.uint8)))
    np.save(tmp_path / "images.npy", PIXELS)
    np.save(tmp_path / "first.npy", PIXELS[:, None])
    np.savez(tmp_path / "both.npz", x=PIXELS[..., None], y=LABELS)
    labels = str(tmp_path / "labels-idx1-ubyte.gz")
    for name in ("images-idx3-ubyte.gz", "images.npy", "both.npz"):
        found = opened(tmp_path / name, **({} if name == "both.npz" else {"labels": labels}))
        assert found.shape == (1, 8, 8)
        np.testing.assert_allclose(all_of(found), PIXELS[:, None] / 255)
        assert found.labels is not None
        assert found.labels.to_pylist() == LABELS.tolist()
    alone = image_files.open_set(labels, ImageRules())
    assert isinstance(alone, pa.ChunkedArray)
    assert alone.to_pylist() == LABELS.tolist()


def test_channels_may_stand_first_or_last(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
    np.save(tmp_path / "last.npy", colours)
    np.save(tmp_path / "first.npy", colours.transpose(0, 3, 1, 2))
    for name in ("last", "first"):
        found = opened(tmp_path / f"{name}.npy")
        assert found.shape == (3, 9, 7)
        np.testing.assert_allclose(all_of(found), colours.transpose(0, 3, 1, 2) / 255)


def test_each_folder_is_a_class_and_names_order_the_rows(tmp_path: Path) -> None:
    for number, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True)):
        place = tmp_path / f"digit {label}"
        place.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number:03}.png")
    found = opened(tmp_path)
    order = sorted(range(len(LABELS)), key=lambda n: (LABELS[n], n))
    np.testing.assert_allclose(all_of(found), PIXELS[order][:, None] / 255)
    assert found.labels is not None
    assert found.labels.to_pylist() == [f"digit {LABELS[n]}" for n in order]


def test_a_column_names_files_in_the_order_of_rows(tmp_path: Path) -> None:
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    rules = ImageRules.parse({"folder": str(tmp_path), "column": "scan"})
    order = np.random.default_rng(0).permutation(12)
    names = pa.chunked_array([pa.array([f"{n}.png" for n in order])])
    np.testing.assert_allclose(
        all_of(image_files.named_files(names, rules)), PIXELS[order][:, None] / 255
    )
    for bad in ("12.png", "../outside.png", None):
        with pytest.raises(DataError, match=r"names no file of images\.folder in 1 of 2 rows"):
            image_files.named_files(pa.chunked_array([pa.array(["1.png", bad])]), rules)


def test_images_are_brought_to_one_size_and_colour_and_normalised(tmp_path: Path) -> None:
    Image.fromarray(PIXELS[0]).resize((20, 10)).save(tmp_path / "a.png")
    Image.fromarray(np.stack([PIXELS[1]] * 3, axis=-1)).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"not of one shape.*give images\.size and images\.colour"):
        all_of(opened(tmp_path))
    rules = {"size": [8, 8], "colour": "grey", "mean": 0.1307, "deviation": 0.3081}
    found = opened(tmp_path, **rules)
    assert found.shape == (1, 8, 8)
    np.testing.assert_allclose(all_of(found)[1, 0], (PIXELS[1] / 255 - 0.1307) / 0.3081, atol=1e-9)
    rgb = opened(tmp_path, **{**rules, "colour": "rgb", "mean": [0.1, 0.2, 0.3]})
    assert rgb.shape == (3, 8, 8)
    assert all_of(rgb)[1, 1, 0, 0] == pytest.approx((PIXELS[1][0, 0] / 255 - 0.2) / 0.3081)


RAMP = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.int64, np.uint32, np.uint64])
@pytest.mark.parametrize("rules", [{}, {"size": [4, 4]}, {"colour": "rgb"}])
def test_numbers_that_do_not_say_which_is_white_are_refused(
    kind: type, rules: dict[str, Any], tmp_path: Path
) -> None:
    np.save(tmp_path / "images.npy", PIXELS.astype(kind))
    with pytest.raises(DataError, match=f"{np.dtype(kind)}, and nobody knows .* uint8 or uint16"):
        opened(tmp_path / "images.npy", **rules)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
@pytest.mark.parametrize("rules", [{}, {"colour": "grey"}])
def test_a_file_of_32_bits_is_refused(kind: type, rules: dict[str, Any], tmp_path: Path) -> None:
    Image.fromarray((RAMP / 65535).astype(kind)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=f"32 bits \\({np.dtype(kind)}\\).*store 8 or 16 bits"):
        opened(tmp_path, **rules)


@pytest.mark.parametrize(("name", "kind"), [("a.png", "<u2"), ("a.tif", "<u2"), ("a.tif", ">u2")])
@pytest.mark.parametrize("colour", ["", "grey", "rgb"])
def test_a_file_of_16_bits_keeps_them(name: str, kind: str, colour: str, tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(kind)).save(tmp_path / name)
    found = all_of(opened(tmp_path, colour=colour))
    assert found.shape == (1, 3 if colour == "rgb" else 1, 8, 8)
    np.testing.assert_allclose(found[0], np.broadcast_to(RAMP / 65535, found.shape[1:]))


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64])
def test_arrays_of_more_than_8_bits_are_resized_and_coloured_as_those_of_8(
    kind: type, tmp_path: Path
) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (3, 9, 7, 3), dtype=np.uint8)
    greatest = 65535 if kind is np.uint16 else 1
    for name, array in (("grey", colours[..., 0]), ("rgb", colours)):
        np.save(tmp_path / "eight.npy", array)
        np.save(tmp_path / "more.npy", (array / 255 * greatest).astype(kind))
        for rules in ({"size": [5, 4]}, {"colour": "grey"}, {"colour": "rgb", "size": [12, 12]}):
            eight, more = (
                all_of(opened(tmp_path / f"{file}.npy", **rules)) for file in ("eight", "more")
            )
            # Those of 8 bits are rounded to them, twice where both is done.
            np.testing.assert_allclose(more, eight, rtol=0, atol=1.5 / 255, err_msg=name)


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"sizes": [8, 8]}, "images has no key 'sizes'"),
        ({"size": [8]}, "images.size must be height and width"),
        ({"size": [0, 8]}, "images.size must be height and width"),
        ({"colour": "sepia"}, "images.colour must be one of grey, rgb"),
        ({"deviation": 0}, "images.deviation must be a number, or one for each channel"),
        ({"mean": "x"}, "images.mean must be a number"),
        ({"column": "scan"}, "images.column and images.folder go together"),
        ({"labels": 3}, "images.labels must be text"),
    ],
)
def test_a_poor_rule_is_refused_by_key(rules: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ImageRules.parse(rules)
