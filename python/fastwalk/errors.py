"""Every error that fastwalk raises on purpose. Messages are one line: what, where, what to try."""

from __future__ import annotations


class FastwalkError(Exception):
    """The base of all of them; the command ends with status 2 on it."""


class LayoutError(FastwalkError):
    """A layout file, or a layout built by hand, says something impossible."""


class SpecError(FastwalkError):
    """A paging mode or a dialect is wrong or unknown; names the field, such as
    ``depths[2].rules[1].mask``."""


class ImageError(FastwalkError):
    """An image cannot be opened or read."""


class ImageChangedError(ImageError):
    """The file behind an image shrank or was replaced while it was read."""


class WalkCancelledError(FastwalkError):
    """A progress callback asked for the walk to stop."""


class RowBudgetError(FastwalkError):
    """The walk would give more rows than the budget allows; nothing was allocated.

    ``rows`` is the exact number there would be, ``budget`` what was allowed.
    """

    def __init__(self, rows: int, budget: int, message: str | None = None) -> None:
        super().__init__(
            message
            or f"the walk gives {rows} rows and the budget is {budget}: walk part of it, coalesce "
            f"more, or raise budget"
        )
        self.rows = rows
        self.budget = budget
