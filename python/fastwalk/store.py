"""Results read back from files."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from . import arch
from .errors import FastwalkError
from .frames import METADATA_KEY, library
from .mappings import Mappings, Tables
from .origin import Origin

PARQUET = b"PAR1"


def read(path: str | os.PathLike[str]) -> Mappings | Tables:
    """What ``to_parquet`` wrote, or ``fastwalk walk --format parquet|arrow``: the columns,
    and mode, layout and image of the walk. Decoded columns are left out: they come back
    with ``decoded=True``. Needs pyarrow. FastwalkError."""
    name = os.fspath(path)
    table = _table(name)
    data = (table.schema.metadata or {}).get(METADATA_KEY.encode())
    if data is None:
        raise FastwalkError(f"{name}: no mappings of fastwalk; give a file that it wrote")
    metadata: dict[str, Any] = json.loads(data)
    if metadata["what"] == "tables":
        return Tables(
            {column: _column(table, column) for column in Tables.NAMES},
            arch.spec_of(metadata["mode"], metadata["index_va_bits"]),
            Origin.from_json(metadata["origin"]) if metadata["origin"] else None,
        )
    if metadata["what"] != "mappings":
        raise FastwalkError(f"{name}: has {metadata['what']}, which are not read back")
    origin = metadata["origin"]
    columns = {column: _column(table, column) for column in Mappings.NAMES}
    for name, kind in Mappings.OPTIONAL.items():
        if name in table.column_names:
            columns[name] = _column(table, name).astype(kind, copy=False)
    return Mappings(
        columns,
        arch.spec_of(metadata["mode"], metadata["index_va_bits"]),
        complete=metadata["complete"],
        warnings=tuple(metadata["warnings"]),
        origin=Origin.from_json(origin) if origin else None,
    )


def _table(name: str) -> Any:
    pyarrow = library("pyarrow", "fastwalk.read")
    parquet = library("pyarrow.parquet", "fastwalk.read")
    try:
        with open(name, "rb") as file:
            if file.read(len(PARQUET)) == PARQUET:
                return parquet.read_table(name)
            file.seek(0)
            return pyarrow.ipc.open_stream(file).read_all()
    except OSError as error:
        what = error.strerror or "is no Parquet file and no Arrow stream"
        raise FastwalkError(f"{name}: {what}; give a file of `fastwalk walk`") from None
    except pyarrow.ArrowInvalid as error:
        raise FastwalkError(f"{name}: damaged: {error}; write it again") from None


def _column(table: Any, name: str) -> np.ndarray:
    column = table.column(name).combine_chunks()
    if hasattr(column, "chunks"):
        column = column.chunk(0) if column.num_chunks else column
    if hasattr(column, "indices"):
        column = column.indices
    array: np.ndarray = column.to_numpy(zero_copy_only=False)
    return array
