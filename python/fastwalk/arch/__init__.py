"""The registry of architectures: paging modes and ptdump dialects by name.

An architecture is one module of this package. It exposes

``MODES``
    mode name -> ``factory(index_va_bits: int | None) -> Spec``
``ATTRIBUTES``
    mode name -> factory of ``((name, mask, value), ...)``: the named attributes of
    a leaf, for people to read (:func:`attributes`)
``DIALECTS``
    the kernel versions that its dialects were written from, such as ``"6.12.117"``
``MEMORY``
    optional: mode name -> factory of, for each depth, ``((name, mask, value), ...)``: the
    memory types of its leaves, as Linux sets them up (:func:`memory_types`)
``GROUPS``
    optional: mode name -> factory of, for each depth, ``(mask, value, entries)`` or None:
    attributes that claim so many neighbouring entries to be one (:func:`groups`)
``PRESENT_ENTRY``
    optional: mode name -> (mask, value): the attributes of an entry that the processor
    takes for present (:func:`present_entry`)
``UNPROVED``
    optional: why no kernel's own text stands behind the dialects
``MACHINES``
    the ELF machine numbers of its images
``shadows(spec)``
    optional: where KASAN's shadow can be, see :func:`shadows`
``dialect(layout, root, view, version)``
    the :class:`~fastwalk.arch.dialect.Dialect` of one of ``DIALECTS`` for a view

and is found by its presence: modules are imported when one of their modes is asked
for, those whose name begins like the mode's first.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from ..discover import modules_in
from ..errors import LayoutError, SpecError
from ..layout import Layout, Root, View
from ._common import Shadow as Shadow
from .spec import Spec

if TYPE_CHECKING:
    from .dialect import Dialect

Attribute = tuple[str, int, int]
"""Name, mask, value: the attribute is there where ``attributes & mask == value``."""

Read = Callable[[int, int], bytes | None]
"""``read(pa, n)``: the bytes of an image, or None where it has not all of them."""


class Architecture(Protocol):
    """What a module of this package exposes."""

    MODES: Mapping[str, Callable[[int | None], Spec]]
    ATTRIBUTES: Mapping[str, Callable[[], tuple[Attribute, ...]]]
    DIALECTS: tuple[str, ...]
    MACHINES: tuple[int, ...]

    def dialect(self, layout: Layout, root: Root, view: View, version: str) -> Dialect:
        """The dialect of one of DIALECTS for a view of a layout."""


class Chosen(NamedTuple):
    """A dialect, and whether it is of the kernel series that was asked for."""

    dialect: Dialect
    asked: str
    exact: bool


_LANGUAGE = ("dialect", "spec")


@cache
def _module_names() -> tuple[str, ...]:
    return tuple(name for name in modules_in(__path__) if name not in _LANGUAGE)


def _load(name: str) -> Architecture:
    return cast(Architecture, import_module(f"{__name__}.{name}"))


def _architectures(mode: str = "") -> Iterator[Architecture]:
    """All of them, the likeliest one for a mode first, imported one by one."""

    def likely(name: str) -> tuple[int, str]:
        common = 0
        for a, b in zip(name, mode, strict=False):
            if a != b:
                break
            common += 1
        return -common, name

    return (_load(name) for name in sorted(_module_names(), key=likely))


@cache
def _find(mode: str) -> Architecture:
    for architecture in _architectures(mode):
        if mode in architecture.MODES:
            return architecture
    from difflib import get_close_matches

    near = ", ".join(get_close_matches(mode, modes(), 5, 0))
    raise SpecError(
        f"no paging mode {mode!r}; the nearest are {near}; docs/architectures.md and "
        f"`fastwalk.modes()` have all"
    )


def modes() -> tuple[str, ...]:
    """The names of all paging modes."""
    return tuple(mode for architecture in _architectures() for mode in architecture.MODES)


@cache
def spec_of(mode: str, index_va_bits: int | None = None) -> Spec:
    """The description of a paging mode.

    ``index_va_bits``: the root's table is indexed with more bits than the mode has
    (see :class:`fastwalk.layout.Root`). SpecError if there is no such mode.
    """
    return _find(mode).MODES[mode](index_va_bits)


def newest(mode: str) -> str:
    """The newest kernel version that the mode's architecture has a dialect of."""
    return max(_find(mode).DIALECTS, key=_numbers)


@cache
def attributes(mode: str) -> tuple[Attribute, ...]:
    """The named attributes of a mode's leaves: (name, mask, value)."""
    return _find(mode).ATTRIBUTES[mode]()


def versions(mode: str) -> tuple[str, ...]:
    """The kernel versions that the dialects of a mode's architecture were written from."""
    return _find(mode).DIALECTS


def unproved(mode: str) -> str:
    """Why no kernel's text stands behind the dialects of a mode; empty where one does."""
    return getattr(_find(mode), "UNPROVED", "")


def memory_types(mode: str) -> tuple[tuple[Attribute, ...], ...]:
    """For each depth of a mode, the memory types of its leaves: (name, mask, value). Empty
    where the tables know none."""
    known: Mapping[str, Callable[[], tuple[tuple[Attribute, ...], ...]]]
    known = getattr(_find(mode), "MEMORY", {})
    return known[mode]() if mode in known else ((),) * len(spec_of(mode).depths)


def groups(mode: str) -> tuple[tuple[tuple[int, int, int], ...], ...]:
    """For each depth of a mode: (mask, value, entries). Leaves whose ``attributes & mask ==
    value`` are one of so many neighbouring, aligned entries that must agree in everything
    and map contiguous memory: the contiguous bit, NAPOT, large pages of many entries."""
    spec = spec_of(mode)
    said: Mapping[str, Callable[[], tuple[tuple[int, int, int] | None, ...]]]
    said = getattr(_find(mode), "GROUPS", {})
    bits = said[mode]() if mode in said else (None,) * len(spec.depths)
    return tuple(
        (*((bit,) if bit else ()), *(
            (rule.mask & depth.attributes, rule.value & depth.attributes, rule.replicated)
            for rule in depth.rules
            if rule.kind == "leaf" and rule.replicated > 1
        ))
        for depth, bit in zip(spec.depths, bits, strict=True)
    )  # fmt: skip


def present_entry(mode: str) -> tuple[int, int] | None:
    """(mask, value): an entry of a mode is present where ``attributes & mask == value``. None
    where its attributes do not tell."""
    known: Mapping[str, tuple[int, int]] = getattr(_find(mode), "PRESENT_ENTRY", {})
    return known.get(mode)


def common_attributes(mode: str) -> int:
    """Attribute bits that mean the same at every depth that has leaves, and say nothing of
    the leaf's size. What a split or merged mapping keeps, beside permissions and memory
    type."""
    module = _find(mode)
    said: Mapping[str, int] = getattr(module, "COMMON", {})
    if mode in said:
        return said[mode]
    bits = (1 << 64) - 1
    for depth, grouped in zip(spec_of(mode).depths, groups(mode), strict=True):
        leaves = [rule for rule in depth.rules if rule.kind == "leaf"]
        if leaves:
            bits &= depth.attributes
        for rule in leaves:
            bits &= ~rule.mask
        for mask, _, _ in grouped:
            bits &= ~mask
        for _, mask, _ in memory_types(mode)[spec_of(mode).depths.index(depth)]:
            bits &= ~mask
    return bits


def fits_machine(mode: str, e_machine: int) -> bool:
    """Whether an image with that ELF machine number (0: not told) can have tables of a
    mode."""
    return e_machine in (0, *_find(mode).MACHINES)


def machine_name(e_machine: int) -> str:
    """The name of the architecture with that ELF machine number, as people know it."""
    names = [name for name in _module_names() if e_machine in _load(name).MACHINES]
    return names[-1] if names else "not one that fastwalk knows"


def shadows(spec: Spec) -> tuple[Shadow, ...]:
    """Where Linux has KASAN's shadow memory in a mode: one place, or one for each scale,
    the largest first; none where there is no KASAN."""
    place: Callable[[Spec], tuple[Shadow, ...]] | None
    place = getattr(_find(spec.name), "shadows", None)
    return place(spec) if place else ()


def decode(mode: str, value: int) -> tuple[str, ...]:
    """The names of the attributes that a value of the ``attributes`` column has."""
    return tuple(name for name, mask, wanted in attributes(mode) if value & mask == wanted)


def dialect_of(
    layout: Layout,
    view: str | None = None,
    version: str | None = None,
    read: Read | None = None,
) -> Chosen:
    """The dialect in which a view's kernel prints.

    ``version`` overrides the layout's kernel; the nearest dialect is taken where there
    is none of that series. ``read`` gives the image's bytes: with it, the value that
    KASAN's early shadow entries are noted with is read from the image where the layout
    does not give it. LayoutError, SpecError.
    """
    chosen = layout.view(view)
    root = layout.root(chosen.root)
    mode = layout.mode_of(root)
    architecture = _find(mode)
    asked = version or layout.kernel
    nearest = min(architecture.DIALECTS, key=lambda known: _distance(asked, known))
    kasan = layout.kasan
    if kasan and kasan.pte0 is None and "pte" in kasan.early_shadow:
        layout = _with_pte0(layout, kasan.early_shadow["pte"], mode, read)
    return Chosen(
        architecture.dialect(layout, root, chosen, nearest),
        asked,
        _numbers(asked)[:2] == _numbers(nearest)[:2],
    )


def _with_pte0(layout: Layout, pa: int, mode: str, read: Read | None) -> Layout:
    last = spec_of(mode).depths[-1]
    data = read(pa, last.entry_bytes) if read else None
    if data is None:
        raise LayoutError(
            f"kasan.pte0 is not in the layout and kasan.early_shadow.pte {pa:#x} is not in the "
            f"image; add kasan.pte0, the value of kasan_early_shadow_pte[0]"
        )
    return layout.with_pte0(int.from_bytes(data, last.byte_order))


def _numbers(version: str) -> tuple[int, ...]:
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    if not numbers:
        raise LayoutError(f"{version!r} is not a kernel version; write one such as 6.12.117")
    return tuple(int(number) for number in numbers.group().split("."))


def _distance(asked: str, known: str) -> tuple[int, int]:
    """How far apart two versions are: in series, then in stable releases."""
    (series, patch), (other, other_patch) = (
        (1000 * numbers[0] + numbers[1], numbers[2])
        for numbers in ((*_numbers(version), 0, 0) for version in (asked, known))
    )
    return abs(series - other), abs(patch - other_patch)
