"""Credentials in an address stay with whoever wrote it: no error names them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tallystick.models import checkpoints, from_file
from tallystick.runtime.addresses import name_of, without_credentials
from tallystick.runtime.errors import TallystickError
from tallystick.runtime.manifest import Manifest
from tallystick.tables import files, image_files
from tallystick.tables.images import ImageRules
from tallystick.tables.preparation import Preparation

PLANTED = "4711abc"


@pytest.mark.parametrize(
    ("address", "shown", "name"),
    [
        ("/data/at@home/table.csv", "/data/at@home/table.csv", "table.csv"),
        ("folder/", "folder/", "folder"),
        ("s3://bucket/table.csv", "s3://bucket/table.csv", "table.csv"),
        (f"s3://KEY:{PLANTED}@bucket", "s3://bucket", "bucket"),
        (f"s3://KEY:47/11{PLANTED}@bucket/a/b.csv", "s3://bucket/a/b.csv", "b.csv"),
        (f"s3://bucket/a/b.csv?secret_key={PLANTED}&region=x", "s3://bucket/a/b.csv", "b.csv"),
        (f"s3://bucket/b.csv?secret_key=@{PLANTED}", "s3://...", "..."),
        (f"s3://KEY:{PLANTED}?{PLANTED}@bucket/b.csv", "s3://...", "..."),
        (f"s3://KEY:{PLANTED}#{PLANTED}@bucket/b.csv", "s3://...", "..."),
        (f"sqlite:////data/mlflow.db?key={PLANTED}", "sqlite:////data/mlflow.db", "mlflow.db"),
        (Path(f"s3://KEY:{PLANTED}@bucket/b.csv?x={PLANTED}"), "s3:/bucket/b.csv", "b.csv"),
    ],
)
def test_what_is_shown_of_an_address(address: str | Path, shown: str, name: str) -> None:
    assert (without_credentials(address), name_of(address)) == (shown, name)


@pytest.mark.parametrize(
    "read",
    [
        files.find,
        lambda address: checkpoints.opened(address, "s", "alice"),
        lambda address: image_files.open_set(address, ImageRules()),
        lambda address: image_files.open_set("here", ImageRules(labels=address)),
        lambda address: from_file.read(Path(address), "", (4,)),
        lambda address: Manifest.read(Path(address), "model"),
        lambda address: Preparation.read(Path(address)),
    ],
)
@pytest.mark.parametrize(
    "address",
    [
        f"s3://KEY:{PLANTED}@bucket?no_such_option=1&secret_key={PLANTED}",
        f"s3://bucket/file.onnx?no_such_option=1&secret_key={PLANTED}",
    ],
)
def test_no_error_tells_the_credentials_of_an_address(
    read: Callable[[str], object], address: str
) -> None:
    with pytest.raises(TallystickError) as error:
        read(address)
    assert PLANTED not in str(error.value)
