"""A paging mode that can be used: its spec, its plan, and the vectorised leaf check."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from . import _fastwalk, arch
from .arch.spec import Half, Spec
from .errors import SpecError

if TYPE_CHECKING:
    from numpy import uint8
    from numpy.typing import ArrayLike, NDArray

KINDS = ("none", "table", "leaf", "other")
"""Kinds of an entry, by the numbers that :meth:`Mode.classify` gives."""


def modes() -> tuple[str, ...]:
    """The names of all paging modes, such as ``x86_64-4level`` or ``arm64-4k-48``."""
    return arch.modes()


def mode(name: str, index_va_bits: int | None = None) -> Mode:
    """A paging mode by its name.

    ``index_va_bits``: the root's table is indexed with more bits than the mode has (a
    64K arm64 kernel built for 52 bits on 48-bit hardware).

    SpecError if there is no such mode.
    """
    return Mode(arch.spec_of(name, index_va_bits))


class Mode:
    """A paging mode: :attr:`spec` is its description, checked by the compiled plan."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def __repr__(self) -> str:
        sizes = ", ".join(depth.name for depth in self.spec.depths)
        return f"<fastwalk.Mode {self.name}: {self.spec.va_bits}-bit addresses, {sizes}>"

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def index_va_bits(self) -> int | None:
        """With how many bits the root is indexed, where these are not the mode's."""
        bits = self.spec.page_bits + sum(depth.index_bits for depth in self.spec.depths)
        return None if bits == self.spec.va_bits else bits

    @cached_property
    def plan(self) -> _fastwalk.Plan:
        """The spec, checked and compiled. SpecError names a wrong field by its path."""
        return _fastwalk.Plan(self.spec)

    def half(self, name: str | None = None) -> Half:
        """The half of that name; the mode's default without one. SpecError."""
        halves = self.spec.halves
        if name is None:
            return halves[0]
        for half in halves:
            if half.name == name:
                return half
        known = ", ".join(half.name for half in halves)
        raise SpecError(f"{self.name} has no half {name!r}; it has {known}")

    def classify(self, entries: ArrayLike, depth: int) -> NDArray[uint8]:
        """What entries of a table are to the processor: the kernel's p?d_none and
        p?d_leaf, for whole arrays.

        ``entries``: any shape, converted to uint64, in the order of bytes of this
        machine. ``depth``: that of the table, 0 for the root. Returns an array of the
        same shape, uint8: indexes into :data:`KINDS`. IndexError for a depth that the
        mode does not have.
        """
        import numpy as np

        array = np.ascontiguousarray(entries, dtype=np.uint64)
        kinds = _fastwalk.classify(self.plan, array.reshape(-1), depth)
        return np.frombuffer(kinds, dtype=np.uint8).reshape(np.shape(entries))
