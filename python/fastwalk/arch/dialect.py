"""The language in which one kernel's ptdump is described: plain data, no code.

The kernel's dumper does not report leaves, it reports *notes*: one for each entry
that its walk stops at, holes included, each with a level number and the entry's
value (``mm/ptdump.c`` and ``mm/pagewalk.c``; arm has its own,
``arch/arm/mm/dump.c``). A line ends where the masked value, the level or the path
state of a note differs from the ones before it, or where a marker has been
reached. What counts as a hole, a leaf or a table here is the kernel's
``p?d_none`` / ``p?d_leaf`` / ``p?d_present``, which is not always what the
processor thinks; so a dialect has rules of its own beside the mode's
:class:`~fastwalk.arch.spec.Spec`, and may even see other tables (arm's short
descriptors are dumped from Linux's own copy).

``Plan(dialect)`` compiles the walk half of it (everything that is not in
:class:`Style`) for Rust; :mod:`fastwalk.text.ptdump` reads the text half.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from .spec import ByteOrder, Field, Half, PathBit

Action = Literal["note", "hole", "descend", "silent"]


class NoteRule(NamedTuple):
    """What the kernel does with an entry for which ``entry & mask == value``.

    ``note``: reported with its own value. ``hole``: reported with
    :attr:`Dialect.hole_value`. ``descend``: the table at `pa` is walked. ``silent``:
    nothing is reported, so the run before it goes on over it. First match wins;
    the last rule must match everything.
    """

    mask: int
    value: int
    action: Action
    level: int = 0
    """The level number given to note_page (not the depth: levels fold)."""
    pa: tuple[Field, ...] = ()
    offset: int = 0


class EarlyShadow(NamedTuple):
    """An entry to be descended whose table lies in the page frame of ``pa`` is noted
    once, with the dialect's `shadow_value` and `shadow_level` (mm/ptdump.c,
    note_kasan_page_table)."""

    pa: int
    descends: bool
    """The walk goes on below it all the same (mm/pagewalk.c looks at ACTION_CONTINUE
    for puds and pmds only)."""


class Pairs(NamedTuple):
    """The dumper takes two entries at a time (arm: one of Linux's PGD is two of the
    processor's), and looks at the second by itself only where ``entry & mask == value``.

    Elsewhere the second is the other half of the first, if that is descended: it is read
    as the first plus `step`. And if that is not, it is nothing: it is read as `nothing`,
    which a rule has to make silent.
    """

    mask: int
    value: int
    step: int
    nothing: int


class NoteDepth(NamedTuple):
    index_bits: int
    rules: tuple[NoteRule, ...]
    path: tuple[PathBit, ...] = ()
    """Path state set by any entry of this depth that is noted or descended."""
    early_shadow: EarlyShadow | None = None
    pairs: Pairs | None = None
    entry_bytes: int = 8
    byte_order: ByteOrder = "little"


class Flag(NamedTuple):
    """Text for a masked value: `set` where ``key & mask == value``, else `clear`.
    None prints nothing at all, not even what stands between flags."""

    mask: int
    value: int
    set: str | None
    clear: str | None = None


class Choice(NamedTuple):
    """Text for a field with several values."""

    mask: int
    texts: tuple[tuple[int, str], ...]
    default: str


class Number(NamedTuple):
    """A field printed as a number: ``format % ((key & mask) >> shift)``."""

    mask: int
    shift: int
    format: str
    clear: str | None = None
    """Printed instead where the field is 0, if not None."""


TextField = Flag | Choice | Number


class Level(NamedTuple):
    """What note_page knows of a level number."""

    name: str
    mask: int
    """Bits of a noted value that are compared and printed."""
    fields: tuple[TextField, ...] = ()


class MarkerPolicy(NamedTuple):
    """How many markers may be passed at each step; -1: as many as have been reached.

    A marker counts as reached when the note's address is not below it. A run is cut
    whenever the next marker has been reached, so headings can lag behind.
    """

    first: int = 0
    """At the first note, after the heading of marker 0."""
    flush: int = 1
    """After a run was printed (or suppressed)."""
    note: int = 0
    """At the end of every note, cut or not (arm64)."""


class Style(NamedTuple):
    """The text half: how a run becomes a line.

    ``line`` is a template of ``str.format`` with the names start, end, pa, size and
    tail. ``tail`` (what depends on level, key and path only) is a template with
    name, flags and path.
    """

    line: str
    tail: str
    address: str = "0x%016x"
    address_bits: int = 64
    """Sizes are computed modulo 2 to this power (the width of the kernel's long)."""
    end_inclusive: bool = False
    units: str = "KMGTPE"
    unit_bytes: int = 1024
    """What the first unit stands for: sizes are divided by it first."""
    separator: str = " "
    """Printed before each flag that prints."""
    pa: tuple[Field, ...] = ()
    """How the printed address is taken from the first note's value."""
    napot_mask: int = 0
    """Where a value has all these bits, the low bit of its page number is a size, not
    an address (riscv: ``pfn & (pfn - 1)``)."""
    print_empty: bool = True
    """Print runs whose key is 0 (x86, arm64, s390x do; the others do not)."""
    flags_if: int = -1
    """Print flags only where ``key & flags_if``: 0 bits set gives `no_flags` instead.
    -1: flags are printed where the key is not 0."""
    no_flags: str = ""
    path_texts: tuple[str, ...] = ()
    """Text of each path state (arm: the domain's name), for the name `path`."""
    unknown: str = ""
    """Format of key bits that no field covers (powerpc), if they are printed."""


class Dialect(NamedTuple):
    """ptdump of one kernel, on one machine's layout."""

    arch: str
    version: str
    """The version that it was written from, such as 6.12.117."""
    page_bits: int
    depths: tuple[NoteDepth, ...]
    half: Half
    levels: tuple[Level, ...]
    markers: MarkerPolicy
    style: Style
    final: int | None = 0
    """Address of the flush after the last range; None: the end of the last range
    (taken modulo 2^64)."""
    first_start: int | None = None
    """Where the first run is said to start, if not at the first note (arm: 0)."""
    hole_value: int = 0
    zero_path: int | None = None
    """Path state of every note whose value is 0, whatever lies above it (x86), and
    of a stale one before the first pte. None: a value of 0 is nothing special."""
    shadow_value: int = 0
    shadow_level: int = 4
    shadow_path_stale: bool = False
    """A shadow note carries the path state of the last pte the walk met (x86: the
    dumper does not renew st->prot_levels[4])."""
    first_heading: str | None = None
    """Printed instead of the first marker's name, where the kernel has it fixed."""
