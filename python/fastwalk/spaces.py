"""All address spaces of an image, walked together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from . import _fastwalk
from .origin import Origin
from .progress import reporting
from .space import TOP, AddressSpace, Coalesce, Progress, default_budget, spans

if TYPE_CHECKING:
    import numpy as np

    from .detect import Space
    from .image import Image
    from .mappings import Mappings, Tables


class Spaces(tuple["Space", ...]):
    """Every root of an image with the evidence for it, as :meth:`fastwalk.Image.spaces` finds
    them: a tuple, the kernel's first, that can be walked as a whole."""

    image: Image

    def __new__(cls, image: Image, found: Iterable[Space]) -> Spaces:
        """The spaces of an image."""
        made = super().__new__(cls, found)
        made.image = image
        return made

    def _repr_html_(self) -> str:
        from .view.html import spaces_table

        return spaces_table(self)

    def open(self) -> list[AddressSpace]:
        """Each as an address space that can be walked alone. ImageError where a root is not
        in the image."""
        return [self.image.space(root=space.name) for space in self]

    def walk(
        self,
        coalesce: Coalesce = "attributes",
        threads: int | None = None,
        isa: str | None = None,
        budget: int | None = None,
        progress: Progress | None = None,
    ) -> Mappings:
        """All of them in one walk: rows as of :meth:`~fastwalk.AddressSpace.walk`, space by
        space, with one more column ``space`` (uint32, an index into ``Mappings.spaces``).
        Tables that several spaces share are read once. ``ptdump`` is of one space alone:
        ValueError. RowBudgetError, ImageError, ImageChangedError, WalkCancelledError."""
        if coalesce == "ptdump":
            raise ValueError(
                'coalesce="ptdump" is of one space: walk them one by one, as open() gives them'
            )
        whole = [(0, TOP - 1)]
        return self._walk([(coalesce, whole)], coalesce, threads, isa, budget, progress)

    def walk_physical(
        self,
        threads: int | None = None,
        isa: str | None = None,
        budget: int | None = None,
        progress: Progress | None = None,
    ) -> Mappings:
        """As :meth:`fastwalk.AddressSpace.walk_physical`, of all of them."""
        shadow = self.image.kernel().shadow_range()
        steps: list[tuple[Coalesce, list[tuple[int, int]]]]
        if shadow is None:
            steps = [("physical", [(0, TOP - 1)])]
        else:
            low, end = shadow
            rest = [(0, low - 1), *([(end, TOP - 1)] if end < TOP else [])]
            steps = [("physical", rest), ("attributes", [(low, end - 1)])]
        return self._walk(steps, "physical", threads, isa, budget, progress)

    def tables(self, threads: int | None = None) -> dict[str, Tables]:
        """The unique tables of each of them, by name."""
        opened = zip(self, self.open(), strict=True)
        return {space.name: walked.tables(threads=threads) for space, walked in opened}

    def _walk(
        self,
        steps: list[tuple[Coalesce, list[tuple[int, int]]]],
        coalesce: str,
        threads: int | None,
        isa: str | None,
        budget: int | None,
        progress: Progress | None,
    ) -> Mappings:
        import numpy as np

        from .mappings import Mappings

        opened = self.open()
        budget = default_budget() if budget is None else budget
        left = budget
        deepest = max((space.mode.spec for space in opened), key=lambda spec: len(spec.depths))
        groups: dict[tuple[str, int | None], list[int]] = {}
        for number, space in enumerate(opened):
            groups.setdefault((space.mode.name, space.mode.index_va_bits), []).append(number)
        parts: list[dict[str, np.ndarray]] = []
        complete = True
        warnings: list[str] = []
        for numbers in groups.values():
            of = opened[numbers[0]].mode
            for key, ranges in steps:
                asked = [
                    span
                    for index, number in enumerate(numbers)
                    for span in spans(opened[number].half, ranges, index)
                ]
                with reporting(progress, "walking") as report:
                    walked = _fastwalk.walk(
                        self.image.inner,
                        of.plan,
                        [opened[number].root for number in numbers],
                        asked,
                        coalesce=key,
                        budget=left,
                        threads=threads,
                        isa=isa,
                        progress=report,
                    )
                one = Mappings.from_walk(walked, of.spec)
                columns = one.columns
                if len(of.spec.depths) < len(deepest.depths):
                    more = np.uint8(len(deepest.depths) - len(of.spec.depths))
                    columns["depth"] = columns["depth"] + more
                owners = np.array([numbers[index] for index, *_ in asked], np.uint32)
                columns["space"] = np.repeat(owners, np.array(walked.span_rows, np.intp))
                parts.append(columns)
                complete &= one.complete
                warnings += one.warnings
                left -= len(one)
        columns = parts[0]
        if len(parts) > 1:
            columns = {name: np.concatenate([part[name] for part in parts]) for name in columns}
            order = np.lexsort((columns["start"], columns["space"]))
            columns = {name: column[order] for name, column in columns.items()}
        return Mappings(
            columns,
            deepest,
            complete=complete,
            warnings=tuple(dict.fromkeys(warnings)),
            origin=self._origin(opened, coalesce),
        )

    def _origin(self, opened: list[AddressSpace], coalesce: str) -> Origin:
        walked = tuple(
            space.walked()._replace(name=found.name, role=found.root.role)
            for found, space in zip(self, opened, strict=True)
        )
        return replace(opened[0].origin(coalesce), spaces=walked)
