"""fastwalk: the page tables in a physical-memory image, as the kernel's ptdump text and
as columns.

``open()`` an image, take an address space from it, ``walk()`` it or print its
``ptdump()``. ``import fastwalk`` loads neither NumPy nor anything else heavy.
"""

from __future__ import annotations

from . import errors
from ._fastwalk import __version__
from .image import Image, open
from .mode import Mode, mode, modes
from .space import AddressSpace, Count

__all__ = [
    "AddressSpace",
    "Count",
    "Image",
    "Mode",
    "__version__",
    "errors",
    "mode",
    "modes",
    "open",
]
