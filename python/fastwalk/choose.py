"""Which address space a caller means, who names a mode, a root, a view, or none of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from . import arch
from .arch.spec import Half, Window
from .errors import LayoutError
from .mode import Mode, mode
from .space import AddressSpace

if TYPE_CHECKING:
    from .image import Image


def _covers(half: Half, ranges: Sequence[tuple[int, int]]) -> bool:
    def inside(window: Window, first: int) -> bool:
        return window.base <= first < window.base + window.size

    return all(any(inside(window, first) for window in half.windows) for first, _ in ranges)


def _check_machine(image: Image, chosen: Mode) -> None:
    """A layout, or a mode, for another architecture than the image's header names."""
    machine = image.machine
    if machine is not None and not arch.fits_machine(chosen.name, machine.e_machine):
        raise LayoutError(
            f"{image.name}: its header says machine {machine.e_machine} "
            f"({arch.machine_name(machine.e_machine)}), and {chosen.name} is a mode of "
            f"{chosen.spec.arch}; give the layout, or the mode, of this image"
        )


def choose(
    image: Image,
    mode_name: str | None,
    root: int | str | None,
    half: str | None,
    index_va_bits: int | None,
    view: str | None,
) -> AddressSpace:
    """See :meth:`fastwalk.Image.space`."""
    if mode_name is not None and isinstance(root, int):
        if view is not None:
            raise ValueError("a view has a mode and a root already; give either")
        chosen = mode(mode_name, index_va_bits)
        return AddressSpace(image, chosen, root, chosen.half(half))
    layout = image.layout_with(root, view)
    if root is None:
        view = view or layout.default_view
    elif view is not None:
        raise ValueError("a view has a root already; give either")
    name: str | None = None
    if view is not None:
        name = layout.view(view).root
    elif isinstance(root, str):
        name = root
    elif root is not None:
        name = next((known for known, r in layout.roots.items() if r.pa == root), None)
    known = layout.root(name) if name is not None else None
    if known is not None:
        pa = known.pa
        chosen = mode(mode_name or layout.mode_of(known), index_va_bits or known.index_va_bits)
    elif isinstance(root, int):
        pa = root
        chosen = mode(mode_name or layout.mode, index_va_bits)
    else:
        raise LayoutError(f"{image.name}: name a root")
    _check_machine(image, chosen)
    if view is None and name is not None:
        view = next((v for v, shown in layout.views.items() if shown.root == name), None)
    shown = chosen.half(half)
    if half is None and view is not None:
        ranges = layout.view(view).ranges
        shown = next((h for h in chosen.spec.halves if _covers(h, ranges)), shown)
    elif half is None and known is not None and known.role == "process":
        # Where each half has a root of its own, the kernel's is the first.
        shown = chosen.spec.halves[-1]
    return AddressSpace(image, chosen, pa, shown, layout, view, name)
