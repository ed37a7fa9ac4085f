"""What a package consists of, by the files that are there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.machinery import all_suffixes


def modules_in(folders: Iterable[str]) -> tuple[str, ...]:
    """The names of the modules in a package's ``__path__``, in order, without private ones.
    ``pkgutil`` knows them, too, but imports ``inspect`` and so half a compiler for it."""
    endings = tuple(all_suffixes())
    files = (name for folder in folders for name in os.listdir(folder) if name.endswith(endings))
    return tuple(sorted({name.partition(".")[0] for name in files if not name.startswith("_")}))
