"""What several architectures share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..errors import SpecError
from ..layout import Layout
from .spec import Spec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .dialect import EarlyShadow, TextField

PGD, P4D, PUD, PMD, PTE = range(5)
"""The level numbers of mm/ptdump.c. Levels that fold leave a gap."""


class Shadow(NamedTuple):
    """Where KASAN's shadow memory is, and what it is the shadow of: Documentation/dev-tools/
    kasan.rst. A byte of it stands for ``1 << scale`` bytes of kernel memory."""

    start: int
    end: int
    """Exclusive."""
    scale: int
    covers: int
    """The address that the byte at `start` stands for."""

    def of(self, vas: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Where the shadow of addresses is: kasan_mem_to_shadow of include/linux/kasan.h. Of
        addresses that have one."""
        wide = vas.dtype.type
        return (vas - wide(self.covers) >> wide(self.scale)) + wide(self.start)

    def has(self, vas: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which addresses have a shadow."""
        wide = vas.dtype.type
        reach = self.end - self.start << self.scale
        return (vas - wide(self.covers)) <= wide(reach - 1)


def shadow_of_top(start: int, end: int, scale: int = 3) -> Shadow:
    """Shadow memory that ends with the byte for the last address of all."""
    return Shadow(start, end, scale, (1 << 64) - (end - start << scale))


def fixed(build: Callable[[], Spec]) -> Callable[[int | None], Spec]:
    """A factory for ``MODES`` that refuses any other index width than the mode's."""

    def factory(index_va_bits: int | None) -> Spec:
        spec = build()
        if index_va_bits not in (None, spec.va_bits):
            raise SpecError(
                f"{spec.name}: a root cannot be indexed with {index_va_bits} bits; leave "
                f"index_va_bits out"
            )
        return spec

    return factory


def same_types(
    modes: Mapping[str, Callable[[int | None], Spec]], types: tuple[tuple[str, int, int], ...]
) -> dict[str, Callable[[], tuple[tuple[tuple[str, int, int], ...], ...]]]:
    """``MEMORY`` of modes whose leaves have the same memory types at every depth."""

    def of(mode: str) -> Callable[[], tuple[tuple[tuple[str, int, int], ...], ...]]:
        return lambda: (types,) * len(modes[mode](None).depths)

    return {mode: of(mode) for mode in modes}


def early_shadow(layout: Layout, level: int) -> EarlyShadow | None:
    """The KASAN table that an entry of a level may point to, if the layout has it.

    mm/ptdump.c compares with the array of the next level down; mm/pagewalk.c goes on below
    pgds and p4ds all the same, since it looks at ACTION_CONTINUE for puds and pmds only.
    """
    from .dialect import EarlyShadow

    tables: Mapping[str, int] = layout.kasan.early_shadow if layout.kasan else {}
    below = ("p4d", "pud", "pmd", "pte")
    if level == PTE or below[level] not in tables:
        return None
    return EarlyShadow(tables[below[level]], descends=level < PUD)


def shadow_value(layout: Layout) -> int:
    """kasan_early_shadow_pte[0], which stands for all that is mapped by those tables."""
    return (layout.kasan.pte0 or 0) if layout.kasan else 0


def key_mask(fields: tuple[TextField, ...]) -> int:
    """The union of the masks, as most dumpers make their levels' masks."""
    mask = 0
    for field in fields:
        mask |= field.mask
    return mask
