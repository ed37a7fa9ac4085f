"""Images: what a user opens."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from . import _fastwalk
from .errors import ImageError, LayoutError
from .layout import Layout, load

if TYPE_CHECKING:
    from .detect import Detection
    from .detect.kallsyms import Symbols
    from .space import AddressSpace
    from .spaces import Spaces


LARGEST_HASHED = 1 << 30
"""Files up to so many bytes are hashed without being asked for."""


class Segment(NamedTuple):
    """A run of physical addresses that an image says something about."""

    pa: int
    size: int
    file_offset: int | None
    """None where it reads as zeros, or is stored in another form."""


class Note(NamedTuple):
    """A note of an ELF core, or what comes nearest to it in another container."""

    name: str
    type: int
    data: bytes


class Register(NamedTuple):
    """A processor's register, as the container gives it."""

    cpu: int
    name: str
    value: int


class Machine(NamedTuple):
    """What the container says of the machine."""

    e_machine: int
    """The ELF machine number."""
    class_bits: int
    big_endian: bool


def open(
    source: str | os.PathLike[str] | int | bytes | bytearray | memoryview,
    *,
    format: str | None = None,
    base: int | None = None,
    mapped: bool = True,
    layout: Layout | str | os.PathLike[str] | None = None,
    parts: Sequence[str | os.PathLike[str]] = (),
    decompress_limit: int | None = None,
    decompress_folder: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int, int], object] | None = None,
) -> Image:
    """Opens a physical-memory image, its format told from its content.

    ``source``: a path, an open file descriptor (which stays yours), or the bytes
    themselves (a ``bytes`` object is not copied). ``format`` overrides the content;
    ``base`` is the physical address of a raw image's first byte (default: 0, until its
    kernel was looked for and tells another); ``mapped=False`` reads the file piece by
    piece, for files that cannot be mapped. ``layout``: what the image
    cannot say itself, as a :class:`~fastwalk.layout.Layout` or the path of a layout
    file. ``parts``: the other files of an image in several (found by themselves where
    they lie in one folder and fit).

    A compressed file (zstd, gzip, xz, lz4) is decompressed once, into a sparse temporary
    file in ``decompress_folder`` (default: the system's), up to ``decompress_limit`` bytes
    (default: 64 GiB; 0 to refuse). ``progress`` is then called with (bytes read, bytes to
    read, bytes that came out) and stops it by returning something true.

    Otherwise no data is read. ImageError: one line that names the file and what to try;
    LayoutError.
    """
    if isinstance(layout, (str, os.PathLike)):
        layout = load(os.fspath(layout))
    if isinstance(source, int):
        inner = _fastwalk.open_descriptor(
            source,
            format,
            base or 0,
            not mapped,
            limit=decompress_limit,
            folder=decompress_folder,
            progress=progress,
        )
        return Image(inner, f"file descriptor {source}", layout, base_known=base is not None)
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        inner = _fastwalk.open_path(
            path,
            format,
            base or 0,
            not mapped,
            parts=list(parts),
            limit=decompress_limit,
            folder=decompress_folder,
            progress=progress,
        )
        return Image(inner, path, layout, hashable=path, base_known=base is not None)
    data = source if isinstance(source, bytes) else bytes(source)
    inner = _fastwalk.open_bytes(
        data,
        "<bytes>",
        format,
        base or 0,
        limit=decompress_limit,
        folder=decompress_folder,
        progress=progress,
    )
    return Image(inner, "<bytes>", layout, hashable=data, base_known=base is not None)


class Image:
    """A physical-memory image. Made by :func:`open`."""

    def __init__(
        self,
        inner: _fastwalk.Image,
        name: str,
        layout: Layout | None = None,
        hashable: str | bytes | None = None,
        base_known: bool = True,
    ) -> None:
        self._inner = inner
        self.name = name
        self._layout = layout
        self._hashable = hashable
        self._sha256: str | None = None
        self._base_known = base_known

    def __repr__(self) -> str:
        size = sum(segment.size for segment in self.segments)
        return (
            f"<fastwalk.Image {self.name!r}: {self.format}, {size:#x} bytes in "
            f"{len(self.segments)} segments>"
        )

    def _repr_html_(self) -> str:
        from .view.html import image_table

        return image_table(self)

    @property
    def inner(self) -> _fastwalk.Image:
        """The compiled image, for fastwalk's own modules."""
        return self._inner

    @property
    def format(self) -> str:
        """Name of the format, such as ``elf``."""
        return self._inner.format

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """What it covers, in order of address, without overlaps."""
        return tuple(Segment(*segment) for segment in self._inner.segments())

    @cached_property
    def extents(self) -> tuple[tuple[int, int], ...]:
        """(PA, size) of each segment, as results keep them."""
        return tuple((segment.pa, segment.size) for segment in self.segments)

    @cached_property
    def details(self) -> tuple[tuple[str, str], ...]:
        """What else the container says, for people: (key, value)."""
        return tuple(self._inner.details)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """What is wrong with it although it can be read, a line each."""
        return tuple(self._inner.warnings)

    @cached_property
    def notes(self) -> tuple[Note, ...]:
        """The container's notes, in the order of the file."""
        return tuple(Note(*note) for note in self._inner.notes)

    @cached_property
    def registers(self) -> tuple[Register, ...]:
        """Processors' registers, where the container gives them by name."""
        return tuple(Register(*register) for register in self._inner.registers)

    @cached_property
    def machine(self) -> Machine | None:
        """The machine, where the container names it."""
        machine = self._inner.machine
        return Machine(*machine) if machine else None

    @property
    def vmcoreinfo(self) -> str | None:
        """The text of VMCOREINFO, where the container has it."""
        return self._inner.vmcoreinfo

    def sha256(self, largest: int | None = LARGEST_HASHED) -> str | None:
        """SHA-256 of the file (or of the bytes), in hex, as sha256sum has it; kept once it
        was computed. None where it has more than ``largest`` bytes, where it was opened
        by a descriptor, or cannot be read any more."""
        if self._sha256 is None and self._hashable is not None:
            from .origin import sha256_of

            self._sha256 = sha256_of(self._hashable, largest)
        return self._sha256

    def read(self, pa: int, size: int) -> bytes:
        """The bytes at a physical address. ImageError where any of them is not there."""
        return self._inner.read(pa, size)

    def try_read(self, pa: int, size: int) -> bytes | None:
        """The same, or None where the image has not all of them."""
        return self._inner.try_read(pa, size)

    @property
    def has_layout(self) -> bool:
        """Whether a layout was given."""
        return self._layout is not None

    @cached_property
    def detection(self) -> Detection | None:
        """What was found in the image itself, and from where; None where a layout was
        given. LayoutError where there is no kernel to be found."""
        if self._layout is not None:
            return None
        return self._detect(spaces=False)

    @cached_property
    def searched(self) -> Detection | None:
        """As :attr:`detection`, with every process and other root."""
        if self._layout is not None:
            return None
        return self._detect(spaces=True)

    def _detect(self, *, spaces: bool) -> Detection:
        from .detect import NotDetected, OtherBase, detect

        base_known = self.format != "raw" or self._base_known
        try:
            return detect(self._inner, spaces=spaces, base_known=base_known)
        except NotDetected as error:
            raise LayoutError(f"{self.name}: {error}") from None
        except OtherBase as error:
            moved = self._inner.moved(error.base)
        self._base_known = True
        if moved is not None:
            self._inner = moved
            for stale in ("segments", "extents", "details"):
                self.__dict__.pop(stale, None)
        return self._detect(spaces=spaces)

    def spaces(self) -> Spaces:
        """Every root that was found, with the evidence for it: the kernel's first, then
        processes by number and name, then others. ``image.space(root=found.name)``
        opens one; ``image.spaces().walk()`` walks them all. Of a layout that was given,
        its roots. LayoutError where neither a kernel nor page tables are to be found."""
        from .detect import Space
        from .spaces import Spaces

        found = self.searched
        if found is not None:
            return Spaces(self, found.spaces)
        layout = self.layout
        return Spaces(
            self,
            (
                Space(name, root, layout.mode_of(root), "the layout")
                for name, root in layout.roots.items()
            ),
        )

    @cached_property
    def symbols(self) -> Symbols | None:
        """The kernel's symbols, decoded from the image; None where a layout was given or
        there are none."""
        found = self.detection
        return None if found is None else found.kernel.symbols()

    @property
    def evidence(self) -> list[tuple[str, str, str]]:
        """What was found in the image: (what, value, where). Empty until it was looked
        for (:attr:`layout`), or where a layout was given."""
        found = self.__dict__.get("searched") or self.__dict__.get("detection")
        return [(e.what, e.value, e.source) for e in found.evidence] if found else []

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What was assumed because it was not found, a line each; like
        :attr:`evidence`."""
        found = self.__dict__.get("searched") or self.__dict__.get("detection")
        return found.warnings if found else ()

    @property
    def layout(self) -> Layout:
        """The layout that was given, or what was found in the image itself.

        LayoutError where neither is there.
        """
        found = self.detection
        if found is None:
            assert self._layout is not None
            return self._layout
        return found.layout

    def layout_with(self, root: int | str | None, view: str | None) -> Layout:
        """:attr:`layout`, or where that lacks a root or view of this name, the one with
        every space of the image in it."""
        layout = self.layout
        if self._layout is None and (
            (isinstance(root, str) and root not in layout.roots)
            or (view is not None and view not in layout.views)
        ):
            searched = self.searched
            assert searched is not None
            return searched.layout
        return layout

    def space(
        self,
        mode: str | None = None,
        root: int | str | None = None,
        *,
        half: str | None = None,
        index_va_bits: int | None = None,
        view: str | None = None,
    ) -> AddressSpace:
        """An address space: a paging mode and a root in this image.

        ``mode``: a name of :func:`fastwalk.modes`. ``root``: the top table's physical
        address, or the name of a root of the layout or of :meth:`spaces`. ``half``: which
        half of the addresses the root shows, where each has a root of its own (arm64:
        ``high``, the default, or ``low``). ``view``: take root, mode and half from a view
        of the layout. What is not given is taken from the layout.
        """
        from .choose import choose

        return choose(self, mode, root, half, index_va_bits, view)

    def kernel(self) -> AddressSpace:
        """The kernel's address space: the layout's default view."""
        return self.space(view=self.layout.default_view)

    def check(self, root: int, size: int) -> None:
        """Fails with one line where a root table is not in the image. ImageError."""
        try:
            self._inner.read(root, size)
        except ImageError as error:
            covered = self.segments
            where = (
                f"it has {covered[0].pa:#x} to {covered[-1].pa + covered[-1].size:#x}"
                if covered
                else "it has no memory at all"
            )
            raise ImageError(
                f"{self.name}: the root table at {root:#x} (depth 0, {size} bytes) cannot be "
                f"read: {error}; {where}; is it the right image, and the right root?"
            ) from None
