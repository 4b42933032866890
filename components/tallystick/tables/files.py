"""Where a party's table lies: one file or a folder of them, on this machine or in an object store.

A location is a path, or a URI that pyarrow's file systems know: ``s3://bucket/table.parquet``,
``gs://bucket/folder``, ``file:///data/table.csv``. Object stores take their credentials from the
pod's environment or its service account, never from a parameter, which everybody could read.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import fs

from tallystick.runtime.addresses import name_of
from tallystick.runtime.errors import DataError

_URI = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BYTES_SNIFFED = 1 << 16


def is_remote(location: str | Path) -> bool:
    """Say whether a location is a URI, and so no path on this machine."""
    return _URI.match(str(location)) is not None


@dataclass(frozen=True, slots=True)
class File:
    """One file of a table."""

    filesystem: fs.FileSystem
    path: str
    total_bytes: int

    @property
    def name(self) -> str:
        """Its name without folders, for messages."""
        return self.path.rpartition("/")[2]

    def open(self) -> pa.NativeFile:
        """Open it for reading at any place."""
        if isinstance(self.filesystem, fs.LocalFileSystem):
            return pa.OSFile(self.path)
        return self.filesystem.open_input_file(self.path)

    def plain(self, file: pa.NativeFile) -> pa.NativeFile:
        """Return an opened file's content, decompressed if its name says that it is compressed."""
        try:
            codec = pa.Codec.detect(self.path)
        except (TypeError, ValueError, pa.ArrowException):
            return file  # it names none
        return pa.CompressedInputStream(file, codec.name)

    def head(self, *, plain: bool) -> bytes:
        """Return its first bytes.

        Raises:
            DataError: it cannot be opened, or not decompressed.
        """
        try:
            with self.open() as file:
                return bytes((self.plain(file) if plain else file).read(_BYTES_SNIFFED))
        except (OSError, pa.ArrowException):
            raise DataError(
                f"{self.name!r} cannot be opened; check its permissions, and that it is compressed "
                "as its name says"
            ) from None

    def stamp(self) -> tuple[int, ...]:
        """Return what changes when the file is written again."""
        try:
            if isinstance(self.filesystem, fs.LocalFileSystem):
                found = os.stat(self.path)
                return (found.st_ino, found.st_size, found.st_mtime_ns)
            info = self.filesystem.get_file_info(self.path)
            return (info.size or 0, info.mtime_ns or 0)
        except (OSError, pa.ArrowException):
            return ()


def find(location: str | Path) -> list[File]:
    """Return the files of a table: the one that is named, or those of a folder in name order.

    In a folder, hidden files and names that begin with an underscore (as ``_SUCCESS`` does) are no
    part of the table, and neither are folders within it.

    Raises:
        DataError: there is nothing, or it cannot be reached.
    """
    shown = name_of(location)
    try:
        filesystem, path = (
            fs.FileSystem.from_uri(str(location))
            if is_remote(location)
            else (fs.LocalFileSystem(), str(location))
        )
        info = filesystem.get_file_info(path)
        if info.type == fs.FileType.Directory:
            listed = filesystem.get_file_info(fs.FileSelector(path))
        else:
            listed = [info]
    except (OSError, ValueError, pa.ArrowException):
        raise DataError(
            f"{shown!r} cannot be reached; check the address, the network and this pod's "
            "credentials for the object store"
        ) from None
    if info.type == fs.FileType.NotFound:
        raise DataError(f"there is no file {shown!r}; check the data path")
    if info.type == fs.FileType.Unknown:
        raise DataError(f"{shown!r} is not a file; give the path of a CSV or Parquet file")
    files = [
        File(filesystem, entry.path, entry.size or 0)
        for entry in sorted(listed, key=lambda entry: str(entry.path))
        if entry.type == fs.FileType.File
        and not (entry is not info and entry.base_name.startswith((".", "_")))
    ]
    if not files:
        raise DataError(
            f"the folder {shown!r} holds no files; give the path of CSV or Parquet files"
        )
    return files
