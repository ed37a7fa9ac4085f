"""Sizes and permissions as a person reads them. Here, and not where the columns are, so that
a command that shows one address need not load NumPy."""

from __future__ import annotations

from .arch.spec import EXEC, READ, USER, USER_EXEC, WRITE

PERMISSIONS = (
    (READ, "r"),
    (WRITE, "w"),
    (EXEC, "x"),
    (USER, "u"),
    (USER_EXEC, "ux"),
)
"""Bits of the ``effective`` column, and their letters."""


def permission_text(effective: int, known: int) -> str:
    """Effective permissions in letters, ``-`` for each one that is not there."""
    return "".join(
        (letters if effective & bit else "-" * len(letters))
        for bit, letters in PERMISSIONS
        if known & bit
    )


def size_text(size: int) -> str:
    """A size with the largest unit that leaves it whole: 4K, 1G, 16777096T."""
    size = size or 1 << 64
    unit = 0
    while size % 1024 == 0 and unit < 6:
        size //= 1024
        unit += 1
    return f"{size}{'BKMGTPE'[unit]}"
