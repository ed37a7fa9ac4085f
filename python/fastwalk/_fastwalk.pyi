"""The compiled half: open images, walk, count, dump, translate.

Conversions only; the algorithms are in the crate ``fastwalk-core``. Callers should use
:mod:`fastwalk`, whose classes hold what these functions ask for again and again. Nothing
here imports NumPy.

Terms that several functions share:

*roots*: physical addresses of top tables. *spans*: what to walk of them, each
``(root number, first offset, last offset, base)``: offsets (inclusive) count from the
first byte that the root's entry 0 translates, and ``offset + base`` modulo 2^64 is the
virtual address. ValueError for a span that its root does not have.

*threads*: 1 to 1024, None for as many as the machine has processors. *isa*: a name of
:func:`isas`, None for the widest. ValueError for others. The result depends on neither.

*progress*: called about 20 times a second, and once at the end, with (tables scanned,
rows written); what it raises, or ``WalkCancelledError`` where it returns something true,
ends the work. Ctrl-C ends it too. The interpreter lock is released but for that.

Errors are those of :mod:`fastwalk.errors`: ``ImageError`` where the image cannot be
opened, ``ImageChangedError`` where its file shrank meanwhile, ``WalkCancelledError``.
"""

import os
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, final

from typing_extensions import Buffer, CapsuleType

from .arch.dialect import Dialect
from .arch.spec import Spec

__all__ = [
    "Column",
    "Dump",
    "Dumper",
    "Image",
    "Plan",
    "Tables",
    "Totals",
    "Translations",
    "Walked",
    "__version__",
    "classify",
    "count",
    "count_lines",
    "dump",
    "export_array",
    "export_schema",
    "export_stream",
    "find",
    "formats",
    "isas",
    "lookup",
    "open_bytes",
    "open_descriptor",
    "open_path",
    "path",
    "roots",
    "tables",
    "translate",
    "walk",
]

__version__: str

_Span: TypeAlias = tuple[int, int, int, int]
_Progress: TypeAlias = Callable[[int, int], object]
_Field: TypeAlias = tuple[str, Buffer, str, list[str] | None]
_OpenProgress: TypeAlias = Callable[[int, int, int], object]
"""Called with bytes read of the compressed file, its length, and bytes that came out."""

@final
class Column:
    """A read-only column of numbers that shows its memory through the buffer protocol,
    without a copy: ``memoryview(column)``, ``numpy.frombuffer(column, dtype)``.

    Items are of one byte (``B``), four (``I``) or eight (``Q``), unsigned, in the
    machine's byte order. The memory lives as long as anything refers to it.
    BufferError where somebody wants to write.
    """

    def __len__(self) -> int: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

@final
class Image:
    """An open image. Made by :func:`open_path`, :func:`open_descriptor` and
    :func:`open_bytes`; may be used by several threads at a time."""

    @property
    def format(self) -> str:
        """Name of the format, one of :func:`formats`."""
    @property
    def details(self) -> list[tuple[str, str]]:
        """What else the container says, for people: (key, value)."""
    @property
    def warnings(self) -> list[str]:
        """What is wrong with the image though it can be read, a line each."""
    @property
    def notes(self) -> list[tuple[str, int, bytes]]:
        """ELF notes in the order of the file: (name, type, contents)."""
    @property
    def machine(self) -> tuple[int, int, bool] | None:
        """(``e_machine``, 32 or 64, big-endian), where the container names a machine."""
    @property
    def vmcoreinfo(self) -> str | None:
        """The text of VMCOREINFO, where the container has it."""
    @property
    def registers(self) -> list[tuple[int, str, int]]:
        """Registers that the container gives by name: (processor, name, value)."""
    @property
    def loaded(self) -> int:
        """How many blocks were decompressed so far."""
    @property
    def changed(self) -> bool:
        """True once a file is shorter than it was when it was opened."""
    def moved(self, base: int) -> Image | None:
        """The same memory from another physical address on; None where it is not raw, or
        would reach past the last address."""
    def segments(self) -> list[tuple[int, int, int | None]]:
        """Physical addresses covered, in order, without overlaps: (first address,
        bytes, offset in the file or None where there is none)."""
    def read(self, pa: int, size: int) -> bytes:
        """`size` bytes from physical address `pa` on. ImageError where any of them is
        not in the image or cannot be read."""
    def try_read(self, pa: int, size: int) -> bytes | None:
        """The same, but None where any of them is not in the image."""

def open_path(
    path: str | os.PathLike[str],
    format: str | None = None,
    base: int = 0,
    no_map: bool = False,
    *,
    parts: Sequence[str | os.PathLike[str]] = ...,
    limit: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: _OpenProgress | None = None,
) -> Image:
    """Opens the image in a file, memory-mapped unless `no_map`.

    `format`: a name of :func:`formats`; None to tell it by the contents. `base`:
    physical address of the first byte of a raw image. `parts`: the other files of an
    image in several. A compressed file is decompressed once, into a temporary file in
    `folder` (None: the system's), up to `limit` bytes (None: 64 GiB); `progress` is
    called now and then and stops it by returning something true, or by raising.
    ImageError.
    """

def open_descriptor(
    descriptor: int,
    format: str | None = None,
    base: int = 0,
    no_map: bool = False,
    *,
    limit: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: _OpenProgress | None = None,
) -> Image:
    """Opens the image behind a file descriptor, which stays the caller's to close (it
    is duplicated). See :func:`open_path`. OSError for a descriptor that is not open."""

def open_bytes(
    data: bytes | bytearray,
    name: str = "<bytes>",
    format: str | None = None,
    base: int = 0,
    *,
    limit: int | None = None,
    folder: str | os.PathLike[str] | None = None,
    progress: _OpenProgress | None = None,
) -> Image:
    """Opens the image in memory; bytes are kept, not copied. `name` is what messages
    call it. See :func:`open_path`."""

def formats() -> list[tuple[str, str]]:
    """The image formats: (name, what it is)."""

def isas() -> list[str]:
    """Instruction sets that this machine can scan with, the widest last: some of
    ``scalar``, ``neon``, ``avx2``, ``avx512``."""

@final
class Plan:
    """A paging mode, checked and compiled for the walker.

    SpecError names what is wrong by its path, such as ``depths[2].rules[1].mask``.
    """

    def __new__(cls, spec: Spec) -> Plan: ...
    @property
    def root_bytes(self) -> int:
        """Bytes of the top table."""

@final
class Dumper:
    """A kernel's dialect, checked and compiled; its text half (style and names) is not
    looked at. SpecError as for :class:`Plan`."""

    def __new__(cls, dialect: Dialect) -> Dumper: ...
    @property
    def root_bytes(self) -> int:
        """Bytes of the top table."""

@final
class Totals:
    """What a walk comes to. Exact, however large."""

    @property
    def rows(self) -> int:
        """Rows under the coalescing key, those of absent tables included."""
    @property
    def leaves(self) -> int:
        """Leaf entries, counted at each place where their table hangs."""
    @property
    def others(self) -> int:
        """Entries that are neither empty nor walkable, likewise."""
    @property
    def absent(self) -> int:
        """Tables that are not in the image, likewise."""
    @property
    def tables(self) -> list[int]:
        """Unique tables of each depth, the root's first."""
    @property
    def damage(self) -> list[str]:
        """What could not be read although the image has it, a line each."""

@final
class Walked:
    """The rows of a walk, in the order of the spans and, in each, of virtual address;
    columns of equal length."""

    @property
    def start(self) -> Column:
        """First virtual address; 8 bytes."""
    @property
    def size(self) -> Column:
        """Length in bytes, 0 for 2^64; 8 bytes."""
    @property
    def pa(self) -> Column:
        """Physical address of the first byte; of the missing table in absent rows;
        8 bytes."""
    @property
    def attributes(self) -> Column:
        """Attribute bits of the entries, where they lie in an entry; 8 bytes."""
    @property
    def effective(self) -> Column:
        """Permissions along the whole path, bits of :mod:`fastwalk.arch.spec`;
        1 byte."""
    @property
    def depth(self) -> Column:
        """Depth of the entries, 0 for the root's; 1 byte."""
    @property
    def kind(self) -> Column:
        """0 leaf, 1 other, 2 absent; 1 byte."""
    @property
    def span_rows(self) -> list[int]:
        """How many of the rows belong to each span."""
    @property
    def totals(self) -> Totals:
        """What the whole walk comes to; more rows than the columns have where it was
        truncated."""

def walk(
    image: Image,
    plan: Plan,
    roots: Sequence[int],
    spans: Sequence[_Span],
    *,
    coalesce: Literal["attributes", "physical", "none"] | str,
    budget: int,
    truncate: bool = False,
    marks: Sequence[int] | None = None,
    threads: int | None = None,
    isa: str | None = None,
    progress: _Progress | None = None,
) -> Walked:
    """Walks page tables. Each unique table is read once.

    `budget`: at most so many rows; where there would be more, RowBudgetError with
    their exact number before any is allocated, or the first `budget` ones with
    `truncate`. `marks`: physical addresses; leaves that map one of them get bit 7 of
    `effective`, so that rows do not join them with others (with ``attributes`` only;
    ValueError). Rows are not joined across spans.
    """

def count(
    image: Image,
    plan: Plan,
    roots: Sequence[int],
    spans: Sequence[_Span],
    *,
    coalesce: Literal["attributes", "physical", "none"] | str,
    threads: int | None = None,
    isa: str | None = None,
    progress: _Progress | None = None,
) -> Totals:
    """What :func:`walk` would come to; nothing is allocated for rows."""

@final
class Dump:
    """The lines of a kernel's dumper: columns of equal length, and the headings."""

    @property
    def start(self) -> Column:
        """First address; 8 bytes."""
    @property
    def end(self) -> Column:
        """The address of the note that ended the line; 8 bytes."""
    @property
    def level(self) -> Column:
        """The kernel's level number; 1 byte."""
    @property
    def key(self) -> Column:
        """The first note's value under the level's mask; 8 bytes."""
    @property
    def path(self) -> Column:
        """Path state; 1 byte."""
    @property
    def value(self) -> Column:
        """The first note's value; of the entry of an absent table; 8 bytes."""
    @property
    def absent(self) -> Column:
        """1 where a table that is not in the image was noted; 1 byte."""
    @property
    def headings(self) -> list[tuple[int, int]]:
        """(lines before it, number of the marker) for each heading."""
    @property
    def absent_tables(self) -> int:
        """Tables that are not in the image."""
    @property
    def damage(self) -> list[str]:
        """What could not be read although the image has it, a line each."""

def dump(
    image: Image,
    dumper: Dumper,
    root: int,
    spans: Sequence[_Span],
    markers: Sequence[int],
    *,
    budget: int,
    threads: int | None = None,
    isa: str | None = None,
    progress: _Progress | None = None,
) -> Dump:
    """Runs a kernel's dumper over `spans`, in their order.

    `markers`: the markers' addresses, in the kernel's order. RowBudgetError, with the
    exact number, where there are more than `budget` lines.
    """

def count_lines(
    image: Image,
    dumper: Dumper,
    root: int,
    spans: Sequence[_Span],
    markers: Sequence[int],
    *,
    threads: int | None = None,
    isa: str | None = None,
    progress: _Progress | None = None,
) -> int:
    """How many lines :func:`dump` would give."""

@final
class Tables:
    """Unique tables, in order of depth and physical address: columns of equal length.
    Counts of entries are of 4 bytes."""

    @property
    def depth(self) -> Column:
        """0 for the root; 1 byte."""
    @property
    def pa(self) -> Column:
        """Where the table is; 8 bytes."""
    @property
    def va(self) -> Column:
        """The lowest virtual address that it translates; 8 bytes."""
    @property
    def references(self) -> Column:
        """How many entries point to it, 1 for a root; 8 bytes."""
    @property
    def none(self) -> Column:
        """Empty entries."""
    @property
    def table(self) -> Column:
        """Entries that point to a table."""
    @property
    def leaf(self) -> Column:
        """Entries that map memory."""
    @property
    def other(self) -> Column:
        """Entries that are neither empty nor walkable."""
    @property
    def absent(self) -> Column:
        """Entries whose table is not in the image; they count as `table` too."""

def tables(
    image: Image,
    plan: Plan,
    roots: Sequence[int],
    spans: Sequence[_Span],
    *,
    threads: int | None = None,
    isa: str | None = None,
    progress: _Progress | None = None,
) -> Tables:
    """The tables that show something of the spans."""

@final
class Translations:
    """What addresses came to: columns of their number."""

    @property
    def pa(self) -> Column:
        """Physical address, 0 where there is none; 8 bytes."""
    @property
    def status(self) -> Column:
        """0 mapped, 1 hole, 2 other, 3 absent, 4 non-canonical; 1 byte."""
    @property
    def depth(self) -> Column:
        """Depth of the entry at which the way ended; 1 byte."""
    @property
    def attributes(self) -> Column:
        """Attribute bits of a leaf; 8 bytes."""
    @property
    def effective(self) -> Column:
        """Effective permissions of a leaf; 1 byte."""

def lookup(
    image: Image,
    plan: Plan,
    root: int,
    spans: Sequence[_Span],
    vas: Buffer,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> Translations:
    """What the tables say of addresses: `vas` is a contiguous buffer of unsigned 8-byte
    numbers (BufferError). ImageError where a table cannot be read although the image has it."""

def translate(
    image: Image,
    plan: Plan,
    root: int,
    spans: Sequence[_Span],
    vas: Buffer,
    *,
    threads: int | None = None,
    isa: str | None = None,
) -> tuple[Column, Column]:
    """`pa` and `status` of :func:`lookup` alone, which take less time and memory."""

def path(
    image: Image, plan: Plan, root: int, spans: Sequence[_Span], va: int
) -> tuple[list[tuple[int, int, int, int | None]], tuple[int, int, int, int, int]]:
    """The way of one address: (depth, table, index, entry or None where the table is
    not in the image) for each table, and what :class:`Translations` has of it (pa,
    status, depth, attributes, effective)."""

def classify(plan: Plan, entries: Buffer, depth: int) -> Column:
    """Kinds of entries of a table at `depth`: 0 none, 1 table, 2 leaf, 3 other; 1 byte.

    `entries`: a contiguous buffer of unsigned 8-byte numbers (BufferError), in this
    machine's byte order. IndexError for a depth that the mode does not have.
    """

def export_schema(fields: Sequence[_Field], metadata: dict[str, str]) -> CapsuleType:
    """The Arrow schema of columns, as ``__arrow_c_schema__`` returns it.

    Each field is (name, buffer, type, texts): a contiguous one-dimensional buffer, its
    type as ``u1``, ``u2``, ``u4``, ``u8``, ``f8`` or ``b1``, and None, or the texts that
    its numbers stand for (``u1``, ``u2`` and ``u4`` only: a dictionary). Memory is not
    copied, but for ``b1``, and lives as long as anything refers to it. ValueError for
    columns of different lengths, other types, and numbers without a text.
    """

def export_array(
    fields: Sequence[_Field], metadata: dict[str, str]
) -> tuple[CapsuleType, CapsuleType]:
    """(schema, array), as ``__arrow_c_array__`` returns them; see :func:`export_schema`."""

def export_stream(fields: Sequence[_Field], metadata: dict[str, str]) -> CapsuleType:
    """A stream of one batch, as ``__arrow_c_stream__`` returns it; see
    :func:`export_schema`."""

def find(
    image: Image,
    patterns: Sequence[bytes],
    low: int = 0,
    high: int = ...,
    *,
    threads: int | None = None,
) -> list[tuple[int, int]]:
    """Where byte strings lie in ``low .. high`` (inclusive; default: everywhere): (physical
    address, which of `patterns`), in order of address, the first 2^20 of them. Absent
    memory is zeros; ELF segments without contents are not looked at."""

def roots(
    image: Image,
    plan: Plan,
    align: int,
    table: tuple[int, int] = ...,
    *,
    threads: int | None = None,
    progress: _Progress | None = None,
) -> list[tuple[int, int, int, int, bool]]:
    """Every table at a multiple of `align` that reads as a root, in order of address.

    `table`: (mask, value) that table entries have beside what the plan asks for. Each is
    (physical address, tables below it, leaves, leaves whose memory is in the image,
    whether it is a lower table of another one); tables and leaves count as often as they
    are referred to, at most 2^64 - 1.
    """
