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


UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def rough_size(size: int) -> str:
    """A size for people: 4.0 KiB, 16 MiB, 4.2 TiB."""
    number, unit = float(size), 0
    while number >= 1024 and unit < 6:
        number, unit = number / 1024, unit + 1
    digits = 0 if unit == 0 or number >= 9.95 else 1
    return f"{number:.{digits}f} {UNITS[unit]}"
