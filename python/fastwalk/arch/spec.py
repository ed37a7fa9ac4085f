"""The language in which a paging mode is described: plain data, no code.

A :class:`Spec` says how a processor reads its page tables. Python only writes it
down; ``fastwalk._fastwalk.Plan(spec)`` checks it (and names the wrong field, such
as ``depths[2].rules[1].mask``) and compiles it for the walker. Nothing in the
Rust core knows an architecture by name: whatever a mode needs has to be sayable
here.

Words: *depth* 0 is the root; an *entry* is one descriptor of a table; all masks
and values are those of the entry after its bytes have been put in order.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["none", "table", "leaf", "other"]
ByteOrder = Literal["little", "big"]

# Permissions, one bit each, the same for every architecture. The `effective`
# column of a walk has them after everything above the leaf was taken into account.
READ = 1
WRITE = 2
EXEC = 4
"""The kernel (the privileged mode) may execute."""
USER = 8
"""The unprivileged mode may access at all."""
USER_EXEC = 16
"""The unprivileged mode may execute."""


class Field(NamedTuple):
    """Bits of an entry, moved to where they stand in an address.

    ``shift`` > 0 moves to the left, < 0 to the right, after masking. An address
    whose bits are scattered (LPA2, PSE-36, supersections) is several fields;
    their images must not overlap.
    """

    mask: int
    shift: int = 0


class Rule(NamedTuple):
    """``entry & mask == value`` makes the entry of this ``kind``.

    The rules of a depth are tried in order and the first that matches wins; the
    last one must match everything (``mask`` 0).
    """

    mask: int
    value: int
    kind: Kind
    pa: tuple[Field, ...] = ()
    """Where the leaf, or the next table, is: the sum of the fields and of `offset`."""
    offset: int = 0
    """Added to a table's address (modulo 2^64). For tables that lie beside what the
    entry points at."""
    replicated: int = 1
    """So many neighbouring, aligned entries hold the same leaf descriptor and the
    position among them gives the low bits of the address (NAPOT, arm large pages
    and supersections). A power of two. `pa` is then the base of the whole group."""


class PathBit(NamedTuple):
    """An entry that matches sets ``bits`` in the state collected from the root on.

    In a :class:`Spec` the state is the set of permissions *denied* so far; in a
    dialect it is whatever the kernel's dumper carries down.
    """

    bits: int
    mask: int
    value: int


class Length(NamedTuple):
    """How a table entry limits which entries of the next table exist.

    Entries ``first .. last`` (inclusive) exist; the others are of kind *none*.
    ``last_add`` is added to the decoded last index.
    """

    first: Field
    last: Field
    last_add: int = 0


class Depth(NamedTuple):
    """One depth of the tree: the table, its entries, and what they can be."""

    name: str
    """The kernel's name of the level: PGD, P4D, PUD, PMD, PTE."""
    index_bits: int
    rules: tuple[Rule, ...]
    attributes: int
    """Permission, memory-type and software bits of a leaf (and of an *other*) entry:
    the ``attributes`` column, and what coalescing compares."""
    table_path: tuple[PathBit, ...] = ()
    """What a table entry takes away from everything below it."""
    leaf_path: tuple[PathBit, ...] = ()
    """What a leaf entry takes away."""
    entry_bytes: int = 8
    byte_order: ByteOrder = "little"
    length: Length | None = None


class Window(NamedTuple):
    """Part of what a root's table spans, and the virtual addresses it appears at.

    The byte at ``offset + x`` of the span has the virtual address ``base + x``, for
    ``x`` in ``0 .. size``. What no window shows is non-canonical.
    """

    offset: int
    size: int
    base: int


class Half(NamedTuple):
    """A choice of windows. x86 and riscv have one, which shows both halves of the
    address space; where each half has a root of its own (arm64's TTBR0 and TTBR1)
    there is one a root register. The first one of a spec is its default."""

    name: str
    windows: tuple[Window, ...]


class Exclusion(NamedTuple):
    """Where all of ``granted`` is allowed, ``denied`` is not, whatever entries say."""

    granted: int
    denied: int


class Spec(NamedTuple):
    """A paging mode."""

    name: str
    """As in DESIGN: ``x86_64-4level``, ``arm64-4k-48``."""
    arch: str
    va_bits: int
    """Bits of a virtual address that are translated (the canonical width)."""
    pa_bits: int
    page_bits: int
    """log2 of the smallest page. The depths' index bits and these add up to the span
    of the root, which is 2^va_bits unless the root is indexed with more."""
    depths: tuple[Depth, ...]
    halves: tuple[Half, ...]
    permissions: int
    """The permissions that this mode can tell: the bits `effective` may have."""
    exclusions: tuple[Exclusion, ...] = ()
    root_align: int = 4096
    """What a root's physical address must be a multiple of."""


def whole(bits: int) -> Half:
    """The half of a mode whose addresses are not sign-extended: 0 .. 2^bits."""
    return Half("whole", (Window(0, 1 << bits, 0),))


def sign_extended(bits: int) -> Half:
    """Both halves of a sign-extended address space of `bits` bits, one root."""
    half = 1 << (bits - 1)
    return Half("both", (Window(0, half, 0), Window(half, half, (1 << 64) - half)))
