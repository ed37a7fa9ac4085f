"""Address spaces: a paging mode and a root in an image."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple

from . import _fastwalk, arch
from .arch.spec import Half
from .errors import ImageError
from .layout import Layout, Root, View
from .mode import Mode
from .progress import reporting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from .arch.dialect import Dialect
    from .image import Image
    from .mappings import Mappings, Tables
    from .origin import Origin, Walked
    from .text.ptdump import Rows

Coalesce = Literal["ptdump", "attributes", "physical", "none"]
Progress = Callable[[int, int], object] | bool
"""Called about 20 times a second with (tables scanned, rows written); returning
something true, or raising, ends the walk. True shows it on a terminal or in a notebook
(:mod:`fastwalk.progress`); None shows it in a notebook, False never."""

MOST_ROWS = 1 << 26
ROW_BYTES = 35
"""What a row takes in the columns of a walk."""
TOP = 1 << 64

STATUS = ("mapped", "hole", "other", "absent", "non-canonical")
"""What an address can come to, by the numbers of :attr:`Lookup.status`."""


class Count(NamedTuple):
    """What a walk comes to, exactly, known before anything is allocated."""

    rows: int
    leaves: int
    """Leaf entries (pages and blocks); for ``ptdump`` not told: 0."""
    others: int
    """Entries that are neither empty nor walkable."""
    absent: int
    """Tables that are not in the image, counted at each place where they hang."""
    tables: tuple[int, ...]
    """Unique tables of each depth."""


class Step(NamedTuple):
    """One table on the way of an address."""

    depth: int
    name: str
    """The kernel's name of the level, such as PMD."""
    table: int
    """Physical address of the table."""
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks for here
    entry: int | None
    """None where the table is not in the image."""


class Path(NamedTuple):
    """The way of one address through the tables."""

    va: int
    steps: tuple[Step, ...]
    status: str
    """One of :data:`STATUS`."""
    pa: int | None
    """Where the address is; None where it is nowhere."""
    attributes: int
    effective: int

    def text(self) -> str:
        """The tables on the way, on one line."""
        return " ".join(f"{step.name} {step.table:#x}[{step.index}]" for step in self.steps)


class Lookup(NamedTuple):
    """What addresses came to: NumPy columns of the addresses' number."""

    pa: np.ndarray
    """uint64; 0 where there is none."""
    status: np.ndarray
    """uint8, indexes into :data:`STATUS`."""
    depth: np.ndarray
    """uint8: depth of the entry at which the way ended."""
    attributes: np.ndarray
    """uint64: attribute bits of the leaf."""
    effective: np.ndarray
    """uint8: permissions, as in :mod:`fastwalk.arch.spec`."""


def default_budget() -> int:
    """2^26 rows, or what half of the available memory holds, whichever is less."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    if free // 2 // ROW_BYTES < MOST_ROWS:
        # What is cached is available, too; but to ask for that takes as long as a walk.
        with (
            contextlib.suppress(OSError, StopIteration, ValueError),
            open("/proc/meminfo", encoding="ascii") as lines,
        ):
            entry = next(line for line in lines if line.startswith("MemAvailable:"))
            free = int(entry.split()[1]) * 1024
    return min(MOST_ROWS, free // 2 // ROW_BYTES)


def spans(
    half: Half, ranges: Sequence[tuple[int, int]], root: int = 0
) -> list[tuple[int, int, int, int]]:
    """Ranges of virtual addresses (first and last, inclusive) as the core takes them:
    (root number, first and last offset in the root's span, what to add for a VA)."""
    out = []
    for first, last in ranges:
        for window in half.windows:
            low = max(first, window.base)
            high = min(last, window.base + window.size - 1)
            if low <= high:
                shift = window.offset - window.base
                out.append((root, low + shift, high + shift, -shift % TOP))
    return out


class AddressSpace:
    """A paging mode, a root and an image: what can be walked.

    Made by :meth:`fastwalk.Image.space` and :meth:`fastwalk.Image.kernel`.
    """

    def __init__(
        self,
        image: Image,
        mode: Mode,
        root: int,
        half: Half,
        layout: Layout | None = None,
        view: str | None = None,
        root_name: str | None = None,
    ) -> None:
        self.image = image
        self.mode = mode
        self.root = root
        """Physical address of the top table."""
        self.half = half
        """Which virtual addresses the root shows."""
        self.view = view
        """Name of the view of the layout that it was made from, if it was."""
        self.root_name = root_name
        self._layout = layout
        image.check(root, mode.plan.root_bytes)

    def __repr__(self) -> str:
        name = f" {self.root_name}" if self.root_name else ""
        return (
            f"<fastwalk.AddressSpace{name}: {self.mode.name}, root {self.root:#x}, "
            f"{self.half.name} half, in {self.image.name!r}>"
        )

    def _repr_html_(self) -> str:
        from .view.html import space_table

        return space_table(self)

    @property
    def layout(self) -> Layout:
        """The layout, or one that says no more than mode, root and range."""
        return self._layout if self._layout is not None else self._bare_layout

    @cached_property
    def _bare_layout(self) -> Layout:
        spec = self.mode.spec
        ranges = tuple((w.base, w.base + w.size - 1) for w in self.half.windows)
        return Layout(
            arch=spec.arch,
            mode=spec.name,
            kernel=arch.newest(spec.name),
            page_size=1 << spec.page_bits,
            roots={"root": Root(pa=self.root, role="kernel")},
            views={"root": View(root="root", ranges=ranges, markers=())},
            default_view="root",
        )

    def range_of(self, start: int | None, end: int | None) -> tuple[int, int]:
        """First and last address of what a caller asks for. ValueError."""
        first = 0 if start is None else start
        last = (TOP if end is None else end) - 1
        if not 0 <= first <= last < TOP:
            raise ValueError(
                f"start {first:#x} and end {last + 1:#x} are no range of addresses; "
                f"end is exclusive, and at most 2^64"
            )
        return first, last

    def _spans(self, start: int | None, end: int | None) -> list[tuple[int, int, int, int]]:
        return spans(self.half, [self.range_of(start, end)])

    def walk(
        self,
        start: int | None = None,
        end: int | None = None,
        coalesce: Coalesce = "attributes",
        kasan: Literal["keep", "collapse"] = "keep",
        threads: int | None = None,
        isa: str | None = None,
        budget: int | None = None,
        progress: Progress | None = None,
        *,
        truncate: bool = False,
    ) -> Mappings:
        """What is mapped, as columns.

        ``start``, ``end``: virtual addresses; ``end`` is exclusive; rows are clipped to
        them. ``coalesce``: what makes neighbours one row: ``attributes`` (equal
        attributes, effective permissions and depth), ``physical`` (that, and contiguous
        physical addresses), ``none`` (a row a leaf entry), ``ptdump`` (the kernel's
        rule; holes are rows too). ``kasan="collapse"`` gives KASAN's shadow memory as few
        rows, with what each covers (:mod:`fastwalk.text.kasan`). ``threads``, ``isa``
        (``scalar``, ``avx2``, ``avx512``, ``neon``): how to work; the result is the same.

        Rows whose table is not in the image have the kind *absent*. RowBudgetError
        where there are more rows than ``budget`` (default: :func:`default_budget`),
        with the exact number, before anything is allocated; with ``truncate`` the first
        ones are returned, and :attr:`Mappings.complete` is False. ImageError,
        ImageChangedError, WalkCancelledError.
        """
        if kasan == "collapse":
            from .text.kasan import collapse

            return collapse(self, start, end, coalesce, threads, isa, budget, progress)
        if kasan != "keep":
            raise ValueError(f'kasan is {kasan!r}, not "keep" or "collapse"')
        budget = default_budget() if budget is None else budget
        if coalesce == "ptdump":
            return self._walk_notes(start, end, threads, isa, budget, progress)
        ranges = [self.range_of(start, end)]
        return self.walk_ranges(ranges, coalesce, threads, isa, budget, progress, truncate)

    def walk_ranges(
        self,
        ranges: Sequence[tuple[int, int]],
        coalesce: Coalesce,
        threads: int | None,
        isa: str | None,
        budget: int,
        progress: Progress | bool | None,
        truncate: bool = False,
        marks: Sequence[int] | None = None,
    ) -> Mappings:
        """:meth:`walk` of several ranges (first and last address), for fastwalk's own
        modules. ``marks``: leaves at these addresses are told from others, by bit 7 of
        ``effective``."""
        from .mappings import Mappings

        with reporting(progress, "walking") as report:
            walked = _fastwalk.walk(
                self.image.inner,
                self.mode.plan,
                [self.root],
                spans(self.half, ranges),
                coalesce=coalesce,
                budget=budget,
                truncate=truncate,
                marks=marks,
                threads=threads,
                isa=isa,
                progress=report,
            )
        return Mappings.from_walk(walked, self.mode.spec, self.origin(coalesce))

    def walk_physical(
        self,
        threads: int | None = None,
        isa: str | None = None,
        budget: int | None = None,
        progress: Progress | None = None,
    ) -> Mappings:
        """The true mappings: rows contiguous in physical memory, but for the KASAN shadow,
        where a row is what has equal attributes (terabytes of it are one page of zeros).
        What :mod:`fastwalk.analysis` works on."""
        work = (threads, isa, budget, progress)
        shadow = self.shadow_range()
        if shadow is None:
            return self.walk(None, None, "physical", "keep", *work)
        low, end = shadow
        parts = [
            self.walk(0, low, "physical", "keep", *work),
            self.walk(low, end, "attributes", "keep", *work),
        ]
        if end < TOP:
            parts.append(self.walk(end, TOP, "physical", "keep", *work))
        return parts[0].joined(parts[1:], self.origin("physical"))

    def shadow_range(self) -> tuple[int, int] | None:
        """First address and end of what the kernel maps as KASAN shadow, if its layout says
        where that is."""
        from .shadow import told

        shadow = told(self.layout, self.mode.spec)
        if shadow is None:
            return None
        # x86 with 5 levels fills the whole root entry in which the shadow begins
        # (arch/x86/mm/kasan_init_64.c, kasan_early_p4d_populate).
        spec = self.mode.spec
        entry = 1 << spec.page_bits + sum(depth.index_bits for depth in spec.depths[1:])
        above = shadow.start & -entry
        if above < shadow.start:
            before = self.count(above, shadow.start, "physical")
            if before.rows > MOST_ROWS:
                return above, shadow.end
        return shadow.start, shadow.end

    def walked(self) -> Walked:
        """This space as results keep it."""
        from .origin import Walked

        root = self.layout.roots.get(self.root_name or "")
        return Walked(
            self.root_name or "root",
            self.mode.name,
            self.root,
            self.half.name,
            root.role if root else "kernel",
            self.view,
            self.mode.index_va_bits,
        )

    def origin(self, coalesce: str = "attributes") -> Origin:
        """Where this space is from, as results keep it."""
        from .origin import Origin

        image = self.image
        spaces = (self.walked(),)
        return Origin(image.name, self.layout, spaces, coalesce, image.extents, hashed=image.sha256)

    def _walk_notes(
        self,
        start: int | None,
        end: int | None,
        threads: int | None,
        isa: str | None,
        budget: int,
        progress: Progress | None,
    ) -> Mappings:
        from .mappings import Mappings

        dump = self._dump(self.view, None, (start, end), threads, isa, budget, progress)[1]
        return Mappings.from_dump(dump, self.mode.spec, self.origin("ptdump"))

    def count(
        self,
        start: int | None = None,
        end: int | None = None,
        coalesce: Coalesce = "attributes",
        threads: int | None = None,
        isa: str | None = None,
        progress: Progress | None = None,
    ) -> Count:
        """How many rows :meth:`walk` would give, exactly, whatever the tables describe;
        nothing is allocated for them."""
        if coalesce == "ptdump":
            dumper, view, ranges = self._dialect_of(self.view, None, (start, end))
            lines = _fastwalk.count_lines(
                self.image.inner,
                _fastwalk.Dumper(dumper),
                self.root,
                spans(dumper.half, ranges),
                [marker.address for marker in view.markers],
                threads=threads,
                isa=isa,
                progress=progress if callable(progress) else None,
            )
            return Count(lines, 0, 0, 0, ())
        with reporting(progress, "counting") as report:
            total = _fastwalk.count(
                self.image.inner,
                self.mode.plan,
                [self.root],
                self._spans(start, end),
                coalesce=coalesce,
                threads=threads,
                isa=isa,
                progress=report,
            )
        return Count(total.rows, total.leaves, total.others, total.absent, tuple(total.tables))

    def tables(
        self,
        start: int | None = None,
        end: int | None = None,
        threads: int | None = None,
    ) -> Tables:
        """The unique tables themselves, as columns: those that translate any address from
        ``start`` to ``end`` (exclusive). The kinds of a table's entries, and ``references`` to
        it, are counted in whole tables, of addresses outside, too; ``va`` is the lowest place
        of the table that the range shows something of, and may begin before ``start``.
        ImageError, ImageChangedError."""
        from .mappings import Tables

        found = _fastwalk.tables(
            self.image.inner,
            self.mode.plan,
            [self.root],
            self._spans(start, end),
            threads=threads,
        )
        return Tables.from_core(found, self.mode.spec, self.origin())

    def lookup(self, vas: ArrayLike, threads: int | None = None) -> Lookup:
        """What the tables say of each address. ``vas``: any shape, as uint64; the
        columns have that shape. ImageError where the image is damaged."""
        import numpy as np

        array = np.ascontiguousarray(vas, dtype=np.uint64)
        found = _fastwalk.lookup(
            self.image.inner,
            self.mode.plan,
            self.root,
            self._spans(None, None),
            array.reshape(-1),
            threads=threads,
        )

        def column(data: _fastwalk.Column, dtype: type[np.generic]) -> np.ndarray:
            return np.frombuffer(data, dtype=dtype).reshape(array.shape)

        return Lookup(
            pa=column(found.pa, np.uint64),
            status=column(found.status, np.uint8),
            depth=column(found.depth, np.uint8),
            attributes=column(found.attributes, np.uint64),
            effective=column(found.effective, np.uint8),
        )

    def translate(self, vas: ArrayLike, threads: int | None = None) -> np.ma.MaskedArray:
        """Virtual to physical addresses. ``vas``: any shape, as uint64. Returns a masked
        array of uint64 of that shape, masked where there is no physical address;
        :meth:`lookup` tells why."""
        import numpy as np

        array = np.ascontiguousarray(vas, dtype=np.uint64)
        found, ends = _fastwalk.translate(
            self.image.inner,
            self.mode.plan,
            self.root,
            self._spans(None, None),
            array.reshape(-1),
            threads=threads,
        )
        pa = np.frombuffer(found, dtype=np.uint64).reshape(array.shape)
        status = np.frombuffer(ends, dtype=np.uint8).reshape(array.shape)
        return np.ma.MaskedArray(pa, mask=status != 0)

    def path(self, va: int) -> Path:
        """The way of one address, table by table."""
        steps, (pa, status, _, attributes, effective) = _fastwalk.path(
            self.image.inner, self.mode.plan, self.root, self._spans(None, None), va
        )
        depths = self.mode.spec.depths
        return Path(
            va=va,
            steps=tuple(
                Step(depth, depths[depth].name, table, index, entry)
                for depth, table, index, entry in steps
            ),
            status=STATUS[status],
            pa=pa if STATUS[status] == "mapped" else None,
            attributes=attributes,
            effective=effective,
        )

    def read(self, va: int, size: int) -> bytes:
        """The bytes behind virtual addresses. ImageError names the first one that is
        not mapped, or whose page is not in the image."""
        return b"".join(self._pieces(va, size))

    def _pieces(self, va: int, size: int) -> Iterator[bytes]:
        page = 1 << self.mode.spec.page_bits
        while size > 0:
            path = self.path(va)
            if path.pa is None:
                depth = path.steps[-1].depth if path.steps else 0
                raise ImageError(
                    f"{self.image.name}: {va:#x} is not mapped ({path.status} at depth {depth})"
                )
            piece = min(size, page - va % page)
            yield self.image.read(path.pa, piece)
            va = (va + piece) % TOP
            size -= piece

    def _dialect_of(
        self,
        view: str | None,
        version: str | None,
        clip: tuple[int | None, int | None] = (None, None),
    ) -> tuple[Dialect, View, list[tuple[int, int]]]:
        """Dialect, view, and the view's ranges within ``clip``."""
        layout = self.layout
        name = view or self.view
        chosen = arch.dialect_of(layout, name, version, self.image.try_read)
        shown = layout.view(name)
        first = 0 if clip[0] is None else clip[0]
        last = (TOP if clip[1] is None else clip[1]) - 1
        ranges = [
            (max(low, first), min(high, last))
            for low, high in shown.ranges
            if max(low, first) <= min(high, last)
        ]
        return chosen.dialect, shown, ranges

    def _dump(
        self,
        view: str | None,
        version: str | None,
        clip: tuple[int | None, int | None] = (None, None),
        threads: int | None = None,
        isa: str | None = None,
        budget: int | None = None,
        progress: Progress | None = None,
    ) -> tuple[Dialect, _fastwalk.Dump, View]:
        dialect, shown, ranges = self._dialect_of(view, version, clip)
        with reporting(progress, "walking") as report:
            dump = _fastwalk.dump(
                self.image.inner,
                _fastwalk.Dumper(dialect),
                self.root,
                spans(dialect.half, ranges),
                [marker.address for marker in shown.markers],
                budget=default_budget() if budget is None else budget,
                threads=threads,
                isa=isa,
                progress=report,
            )
        return dialect, dump, shown

    def ptdump_pieces(
        self,
        view: str | None = None,
        dialect: str | None = None,
        *,
        threads: int | None = None,
        isa: str | None = None,
        budget: int | None = None,
        progress: Progress | None = None,
    ) -> tuple[Iterator[str], int]:
        """:meth:`ptdump` in pieces of some thousand lines, for writing as it is made, and
        how many tables are not in the image."""
        from .text import ptdump

        space = self if view is None or view == self.view else self.image.space(view=view)
        chosen, dump, shown = space._dump(
            view, dialect, threads=threads, isa=isa, budget=budget, progress=progress
        )
        pieces = ptdump.pieces(chosen, shown.markers, rows_of(dump))
        return pieces, dump.absent_tables

    def ptdump(
        self,
        view: str | None = None,
        dialect: str | None = None,
        *,
        threads: int | None = None,
        isa: str | None = None,
        budget: int | None = None,
        progress: Progress | None = None,
    ) -> str:
        """The text that the machine's own debugfs file would have had, byte for byte.

        ``view``: a view of the layout (default: this space's own); ``dialect``: a kernel
        version instead of the layout's. LayoutError, RowBudgetError, ImageError.
        """
        pieces, _ = self.ptdump_pieces(
            view, dialect, threads=threads, isa=isa, budget=budget, progress=progress
        )
        return "".join(pieces)


def rows_of(dump: _fastwalk.Dump) -> Rows:
    """The core's lines as the formatter takes them."""
    from .text.ptdump import Rows

    absent = bytes(dump.absent) if dump.absent_tables else b""
    return Rows(
        start=memoryview(dump.start),
        end=memoryview(dump.end),
        level=memoryview(dump.level),
        key=memoryview(dump.key),
        path=memoryview(dump.path),
        value=memoryview(dump.value),
        headings=dump.headings,
        absent=[index for index, flag in enumerate(absent) if flag],
    )
