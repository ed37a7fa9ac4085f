"""Columns as the frames that people already use: Arrow, Polars, pandas, DuckDB, NumPy.

A :class:`Frame` is a table of equally long NumPy columns. What has columns elsewhere in
fastwalk (:class:`Columnar`) becomes one, and hands its columns over through the Arrow
PyCapsule interface without a copy: ``polars.DataFrame(maps)``, ``pyarrow.table(maps)``,
``duckdb.sql("select * from maps")``.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from . import _fastwalk
from .errors import FastwalkError

if TYPE_CHECKING:
    from numpy.typing import NDArray

METADATA_KEY = "fastwalk"
"""The key of the schema's metadata under which a JSON object says where columns are from."""

_Field = tuple[str, np.ndarray, str, list[str] | None]


class MissingLibraryError(FastwalkError, ImportError):
    """An optional library that is not installed."""


def library(name: str, what: str) -> Any:
    """An optional library. MissingLibraryError says what to install."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise MissingLibraryError(
            f"{what} needs {package}; pip install {package}, or fastwalk[frames]"
        ) from None


def _field(name: str, column: np.ndarray, texts: tuple[str, ...] | None) -> _Field:
    kind = column.dtype.str[1:]
    if kind == "b1":
        column = column.view(np.uint8)
    return name, np.ascontiguousarray(column), kind, None if texts is None else list(texts)


def categorical(texts: Sequence[str]) -> tuple[NDArray[np.uint32], tuple[str, ...]]:
    """Texts as numbers, and the texts that these stand for: a column of a :class:`Frame` and
    its categories."""
    known = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return np.array([known[text] for text in texts], np.uint32), tuple(known) or ("",)


class Frame:
    """Columns of equal length: uint8, uint16, uint32, uint64, float64 or bool.

    ``categories`` gives, for some columns of unsigned numbers, the texts that the numbers
    stand for; such a column is a dictionary in Arrow, a categorical in Polars and pandas.
    ``metadata`` is what can be written as JSON.
    """

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        categories: Mapping[str, tuple[str, ...]] | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        self.columns = dict(columns)
        self.categories = dict(categories or {})
        self.metadata = dict(metadata or {})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __repr__(self) -> str:
        return f"<fastwalk.Frame: {len(self)} rows of {', '.join(self.columns)}>"

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def _arrow(self) -> tuple[list[_Field], dict[str, str]]:
        fields = [
            _field(name, column, self.categories.get(name)) for name, column in self.columns.items()
        ]
        return fields, {METADATA_KEY: json.dumps(self.metadata)} if self.metadata else {}

    def __arrow_c_schema__(self) -> object:
        return _fastwalk.export_schema(*self._arrow())

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return _fastwalk.export_array(*self._arrow())

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return _fastwalk.export_stream(*self._arrow())

    def to_arrow(self) -> Any:
        """A ``pyarrow.Table`` of the same memory, but for booleans."""
        return library("pyarrow", "to_arrow").table(self)

    def to_polars(self) -> Any:
        """A ``polars.DataFrame`` of the same memory, but for booleans and categoricals."""
        return library("polars", "to_polars").DataFrame(self)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` of the same memory, but for categoricals."""
        pandas = library("pandas", "to_pandas")
        columns = {
            name: column
            if (texts := self.categories.get(name)) is None
            else pandas.Categorical.from_codes(column, list(texts))
            for name, column in self.columns.items()
        }
        return pandas.DataFrame(columns, copy=False)

    def to_numpy(self) -> np.ndarray:
        """A structured array: a copy, rows as records with the columns' names."""
        dtype = np.dtype([(name, column.dtype) for name, column in self.columns.items()])
        out = np.empty(len(self), dtype)
        for name, column in self.columns.items():
            out[name] = column
        return out

    def to_parquet(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes a Parquet file (zstd), :attr:`metadata` in it. Needs pyarrow."""
        parquet = library("pyarrow.parquet", "to_parquet")
        with _writable(path) as target:
            parquet.write_table(self.to_arrow(), target, compression="zstd")

    def to_ipc(self, path: str | os.PathLike[str] | BinaryIO) -> None:
        """Writes an Arrow IPC stream. Needs pyarrow."""
        pyarrow = library("pyarrow", "to_ipc")
        table = self.to_arrow()
        with _writable(path) as target, pyarrow.ipc.new_stream(target, table.schema) as writer:
            writer.write_table(table)


class _Given:
    """A file of the caller's, which stays open."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __enter__(self) -> BinaryIO:
        return self.file

    def __exit__(self, *_: object) -> None:
        self.file.flush()


def _writable(path: str | os.PathLike[str] | BinaryIO) -> Any:
    if not isinstance(path, (str, os.PathLike)):
        return _Given(path)
    try:
        return open(path, "wb")
    except OSError as error:
        raise FastwalkError(
            f"{os.fspath(path)}: {error.strerror}; give a file to write to"
        ) from None


class Columnar(ABC):
    """What becomes a :class:`Frame`."""

    @abstractmethod
    def frame(self, *, decoded: bool = False) -> Frame:
        """The columns as a frame, without a copy; ``decoded`` adds what people read."""

    def stored(self, *, decoded: bool = False) -> Frame:
        """The frame as files keep it, with all that its metadata can say."""
        return self.frame(decoded=decoded)

    def __arrow_c_schema__(self) -> object:
        return self.frame().__arrow_c_schema__()

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        return self.frame().__arrow_c_array__(requested_schema)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.frame().__arrow_c_stream__(requested_schema)

    def to_arrow(self, *, decoded: bool = False) -> Any:
        """A ``pyarrow.Table`` of the same memory; see :meth:`frame`."""
        return self.frame(decoded=decoded).to_arrow()

    def to_polars(self, *, decoded: bool = False) -> Any:
        """A ``polars.DataFrame`` of the same memory; see :meth:`frame`."""
        return self.frame(decoded=decoded).to_polars()

    def to_pandas(self, *, decoded: bool = False) -> Any:
        """A ``pandas.DataFrame`` of the same memory; see :meth:`frame`."""
        return self.frame(decoded=decoded).to_pandas()

    def to_numpy(self, *, decoded: bool = False) -> np.ndarray:
        """A structured array, a copy: a record a row; see :meth:`frame`."""
        return self.frame(decoded=decoded).to_numpy()

    def to_parquet(self, path: str | os.PathLike[str] | BinaryIO, *, decoded: bool = False) -> None:
        """Writes a Parquet file; see :meth:`stored`. Needs pyarrow."""
        self.stored(decoded=decoded).to_parquet(path)

    def to_ipc(self, path: str | os.PathLike[str] | BinaryIO, *, decoded: bool = False) -> None:
        """Writes an Arrow IPC stream; see :meth:`stored`. Needs pyarrow."""
        self.stored(decoded=decoded).to_ipc(path)
