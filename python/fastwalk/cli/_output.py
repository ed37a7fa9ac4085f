"""How the commands write: text and bytes to --output or standard output, rows as CSV and JSON."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, TextIO

from fastwalk.errors import FastwalkError

from ._common import UsageError

if TYPE_CHECKING:
    from fastwalk.frames import Frame


COLUMNAR = ("parquet", "arrow")
"""Formats that pyarrow writes."""


def arguments(parser: argparse.ArgumentParser, *formats: str) -> None:
    """--format and --output."""
    parser.add_argument(
        "--format",
        type=_format,
        choices=formats,
        default=formats[0],
        help=f"how to write (default: {formats[0]})",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write to a file instead of standard output"
    )


def _format(text: str) -> str:
    """A format whose library is there: better now than when the work is done."""
    if text in COLUMNAR:
        from fastwalk.frames import library

        library("pyarrow", f"--format {text}")
    return text


@contextmanager
def text(path: str | None) -> Iterator[TextIO]:
    """Where text goes: the file, or without one standard output."""
    if path is None:
        yield sys.stdout
        return
    try:
        file = open(  # noqa: SIM115
            path, "w", encoding="utf-8", errors="backslashreplace", newline="\n"
        )
    except OSError as error:
        raise _unwritable(path, error) from None
    with _written(path), file:
        yield file


@contextmanager
def _written(path: str) -> Iterator[None]:
    """Names the file that cannot be written on."""
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from None


@contextmanager
def binary(options: argparse.Namespace) -> Iterator[BinaryIO]:
    """Where bytes go: --output, or standard output where that is no terminal."""
    if options.output is None:
        if sys.stdout.isatty():
            raise UsageError(
                f"--format {options.format} is not for a terminal; give --output FILE, or a pipe"
            )
        # Seekless, and whole before it is written: a reader that goes away breaks nothing.
        buffer = io.BytesIO()
        yield buffer
        sys.stdout.buffer.write(buffer.getbuffer())
        return
    try:
        file = open(options.output, "wb")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(options.output, error) from None
    with _written(options.output), file:
        yield file


def write_binary(frame: Frame, options: argparse.Namespace) -> bool:
    """Columns as Parquet or Arrow; False where another format was asked for."""
    if options.format not in COLUMNAR:
        return False
    with binary(options) as file:
        frame.to_parquet(file) if options.format == "parquet" else frame.to_ipc(file)
    return True


def write_frame(frame: Frame, options: argparse.Namespace) -> None:
    """Columns as CSV, JSON, Parquet or Arrow."""
    if write_binary(frame, options):
        return
    names = list(frame.columns)
    columns = [
        [frame.categories[name][number] for number in column.tolist()]
        if name in frame.categories
        else column.tolist()
        for name, column in frame.columns.items()
    ]
    with text(options.output) as out:
        rows = zip(*columns, strict=True)
        if options.format == "csv":
            csv_rows(names, rows, out)
        else:
            json_rows((dict(zip(names, row, strict=True)) for row in rows), out)


def csv_rows(names: Sequence[str], rows: Iterable[Sequence[object]], out: TextIO) -> None:
    """A line of names and a line a row."""
    import csv

    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)


def json_rows(rows: Iterable[dict[str, object]], out: TextIO) -> None:
    """A list with a line a row, written as they come."""
    import json

    out.write("[")
    separator = "\n"
    for row in rows:
        out.write(separator + json.dumps(row))
        separator = ",\n"
    out.write("\n]\n")


def json_document(document: object, out: TextIO) -> None:
    """One object, indented."""
    import json

    json.dump(document, out, indent=1)
    out.write("\n")


def _unwritable(path: str, error: OSError) -> FastwalkError:
    return FastwalkError(f"{path}: {error.strerror}; give a file to write to")
