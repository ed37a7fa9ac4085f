"""An audit of address spaces with all that their image can say: where RAM is, and where the
kernel's text and read-only data are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from .errors import RowBudgetError

if TYPE_CHECKING:
    from .analysis.findings import Findings
    from .image import Image
    from .mappings import Mappings, Tables
    from .origin import Origin
    from .space import AddressSpace, Progress
    from .spaces import Spaces

Ram = Literal["auto", "image", "unknown"]
"""Where RAM is: what the image has; ``auto``: unless that is little more than page tables."""

_FEW = 16
"""An image that has more pages than so many for each page table has more than tables."""


def audit(
    of: AddressSpace | Spaces,
    *,
    ram: Ram = "auto",
    threads: int | None = None,
    isa: str | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
) -> Findings:
    """Walks an address space, or all of an image's, and audits it by all rules of
    :mod:`fastwalk.analysis.rules`; see :func:`fastwalk.analysis.audit.audit`. ImageError,
    RowBudgetError."""
    maps = walk(of, threads, isa, budget, progress)
    return findings(maps, of.tables(threads=threads), of.image, ram)


def walk(
    of: AddressSpace | Spaces,
    threads: int | None = None,
    isa: str | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
) -> Mappings:
    """The true mappings; where these are more than the budget, what has equal attributes, and
    the rules on physical addresses are not judged. RowBudgetError where that is too much, too."""
    try:
        return of.walk_physical(threads, isa, budget, progress)
    except RowBudgetError:
        return of.walk(threads=threads, isa=isa, budget=budget, progress=progress)


def findings(
    maps: Mappings, tables: Tables | Mapping[str, Tables], image: Image, ram: Ram = "auto"
) -> Findings:
    """The same of what was walked already."""
    from .analysis.audit import audit

    assert maps.origin is not None
    count = sum(map(len, tables.values())) if isinstance(tables, Mapping) else len(tables)
    memory = None if ram == "unknown" else _memory(maps.origin, count if ram == "auto" else 0)
    return audit(maps, tables, memory=memory, regions=kernel_regions(image))


def _memory(origin: Origin, tables: int) -> list[tuple[int, int]] | None:
    """(PA, size) of what the image has; None where that is little more than so many tables."""
    few = sum(size for _, size in origin.segments) < _FEW * tables * origin.layout.page_size
    return None if few else list(origin.segments)


def kernel_regions(image: Image) -> dict[str, tuple[int, int]]:
    """First and last address of the kernel's text and rodata, where its symbols were found
    in the image."""
    found = None if image.has_layout else image.detection
    symbols = found.kernel.symbols() if found is not None else None
    if symbols is None:
        return {}
    named = {
        "text": ("_stext", "_etext"),
        "rodata": ("__start_rodata", "__end_rodata"),
    }
    regions = {}
    for name, (first, behind) in named.items():
        start, end = symbols.address(first), symbols.address(behind)
        if start is not None and end is not None and start < end:
            regions[name] = (start, end - 1)
    return regions
