"""fastwalk: the page tables in a physical-memory image, as the kernel's ptdump text and
as columns.

``open()`` an image, take an address space from it, ``walk()`` it or print its
``ptdump()``. ``import fastwalk`` loads neither NumPy nor anything else heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import errors
from ._fastwalk import __version__
from .image import Image, open
from .mode import Mode, mode, modes
from .space import AddressSpace, Count

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from .analysis.diff import Diff
    from .analysis.findings import Findings
    from .audited import Ram
    from .mappings import Mappings, Tables
    from .space import Progress
    from .spaces import Spaces

__all__ = [
    "AddressSpace",
    "Count",
    "Image",
    "Mode",
    "__version__",
    "audit",
    "diff",
    "errors",
    "mode",
    "modes",
    "open",
    "read",
]


def read(path: str | os.PathLike[str]) -> Mappings | Tables:
    """Results back from a Parquet or Arrow file: see :func:`fastwalk.store.read`."""
    from .store import read

    return read(path)


def audit(
    of: AddressSpace | Spaces,
    *,
    ram: Ram = "auto",
    threads: int | None = None,
    isa: str | None = None,
    budget: int | None = None,
    progress: Progress | None = None,
) -> Findings:
    """What should not be mapped like that: see :func:`fastwalk.audited.audit`."""
    from .audited import audit

    return audit(of, ram=ram, threads=threads, isa=isa, budget=budget, progress=progress)


def diff(
    a: Mappings, b: Mappings, *, kaslr: bool | None = None, shift: int | Mapping[str, int] = 0
) -> Diff:
    """What changed from one walk to another: see :func:`fastwalk.analysis.diff.diff`."""
    from .analysis.diff import diff

    return diff(a, b, kaslr=kaslr, shift=shift)
