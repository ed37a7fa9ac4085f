"""What part of the address space an address lies in, by the kernel's own markers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..layout import Layout
from ..origin import Origin, Walked
from ..text.markers import UNNAMED, changes

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE = ("High Kernel Mapping", "Kernel mapping", "Kernel Image")
"""Sections that hold the kernel's own image and nothing else."""


class Sections:
    """Named, ascending starts of parts of an address space."""

    def __init__(self, starts: NDArray[np.uint64], names: tuple[str, ...]) -> None:
        self.starts = starts
        self.names = names
        self.image: int | None = None
        """Where the kernel's code begins, which KASLR moves within its section."""

    @classmethod
    def of(cls, layout: Layout, view: str | None = None) -> Sections:
        """Those of a view; of the default one without a name."""
        name = view if view is not None and view in layout.views else layout.default_view
        named = {0: UNNAMED} | dict(changes(layout.views[name].markers))
        return cls(np.array(list(named), np.uint64), tuple(named.values()))

    @classmethod
    def unnamed(cls) -> Sections:
        """One, without a name, for all addresses."""
        return cls(np.zeros(1, np.uint64), (UNNAMED,))

    @classmethod
    def of_walked(cls, layout: Layout, walked: Walked) -> Sections:
        """Those of one space of a walk: the kernel's markers name nothing in a process's where
        the kernel has a space of its own."""
        from ..arch import spec_of
        from ..arch.spec import USER

        spec = spec_of(walked.mode, walked.index_va_bits)
        if walked.role == "process" and not spec.permissions & USER:
            return cls.unnamed()
        return cls.of(layout, walked.view)

    @classmethod
    def of_origin(cls, origin: Origin | None) -> tuple[Sections, ...]:
        """Those of each space of a walk; one without a name where that is not known."""
        if origin is None:
            return (cls.unnamed(),)
        return tuple(cls.of_walked(origin.layout, walked) for walked in origin.spaces)

    def find(self, vas: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Which section each address is in, as a number."""
        return np.searchsorted(self.starts, vas, side="right").astype(np.intp) - 1

    def bounds(self, number: int) -> tuple[int, int]:
        """First and last address of a section."""
        first = int(self.starts[number])
        behind = self.starts[number + 1 : number + 2]
        return first, (int(behind[0]) if len(behind) else 1 << 64) - 1

    def name(self, va: int) -> str:
        """The name of the section of an address."""
        return self.names[int(self.find(np.array([va], np.uint64))[0])]

    def place(self, va: int) -> str:
        """An address for people: section and offset."""
        number = int(self.find(np.array([va], np.uint64))[0])
        name = self.names[number]
        return f"{name}+{va - int(self.starts[number]):#x}" if name else f"{va:#x}"

    def stable_place(self, va: int) -> str:
        """The same wherever KASLR has put the kernel: in the section of its image, from where
        its code begins."""
        if self.image is None or (name := self.name(va)) not in IMAGE:
            return self.place(va)
        return f"{name}, code{va - self.image:+#x}"

    def in_image(self, vas: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which addresses are in the section of the kernel's image."""
        image = np.array([name in IMAGE for name in self.names])
        return image[self.find(vas)]


def names_of(
    sections: tuple[Sections, ...], space: NDArray[np.uint32], vas: NDArray[np.uint64]
) -> tuple[NDArray[np.uint32], tuple[str, ...]]:
    """The sections that addresses of several spaces are in, as numbers, and the names that
    these stand for; sections of one name are one, whichever space they are in."""
    numbers = np.zeros(len(vas), np.uint32)
    names: dict[str, int] = {}
    for which, of in enumerate(sections):
        own = np.array([names.setdefault(name, len(names)) for name in of.names], np.uint32)
        inside = space == which
        numbers[inside] = own[of.find(vas[inside])]
    return numbers, tuple(names)


def kernel_start(layout: Layout, walked: Walked) -> int | None:
    """The first address of the kernel's part of what was walked; None where that cannot be
    told, or where there is none."""
    from .. import arch

    spec = arch.spec_of(walked.mode, walked.index_va_bits)
    windows = [window for half in spec.halves for window in half.windows]
    upper = [window.base for window in windows if window.base >> 63]
    if upper:
        return None if walked.half == "low" else min(upper)
    view = layout.views.get(walked.view or layout.default_view)
    above = [marker.address for marker in view.markers if marker.address] if view else []
    return min(above, default=None)
