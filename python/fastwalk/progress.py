"""Progress of long work: a bar in a notebook, one line on a terminal, nothing when piped.

Work that takes less than :data:`PATIENCE` seconds shows nothing. Ctrl-C ends a walk at
once; so does a progress callback that returns something true.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from types import TracebackType
from typing import Any, Protocol

PATIENCE = 0.5
"""Seconds before anything is shown."""
_INTERVAL = 0.1

Report = Callable[[int, int], object]
"""Called with (tables scanned, rows written)."""


class _Shown(Protocol):
    def show(self, text: str, done: int, total: int | None) -> None: ...

    def close(self) -> None: ...


class _Line:
    """One line on standard error, written over again and again."""

    def __init__(self) -> None:
        self.width = 0

    def show(self, text: str, done: int, total: int | None) -> None:
        line = f"fastwalk: {text}"
        sys.stderr.write("\r" + line.ljust(self.width))
        sys.stderr.flush()
        self.width = len(line)

    def close(self) -> None:
        sys.stderr.write("\r" + " " * self.width + "\r")
        sys.stderr.flush()


class _Rich:
    """rich's spinner on standard error."""

    def __init__(self, console: Any) -> None:
        self.status = console.status("fastwalk")
        self.status.start()

    def show(self, text: str, done: int, total: int | None) -> None:
        self.status.update(f"fastwalk: {text}")

    def close(self) -> None:
        self.status.stop()


class _Tqdm:
    """A bar in a notebook."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def show(self, text: str, done: int, total: int | None) -> None:
        self.bar.total = total
        self.bar.n = done
        self.bar.set_description_str(text, refresh=True)

    def close(self) -> None:
        self.bar.close()


def _optional(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        return None


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook."""
    return "ipykernel" in sys.modules


def _display() -> _Shown | None:
    if in_notebook():
        tqdm = _optional("tqdm.auto")
        return _Tqdm(tqdm.tqdm(leave=False)) if tqdm else None
    if not sys.stderr.isatty():
        return None
    rich = _optional("rich.console")
    return _Rich(rich.Console(stderr=True)) if rich else _Line()


class Progress:
    """Something that goes on. Call it with (tables, rows) as a walk does, or
    :meth:`step` it; use it as a context, so that it goes away."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._started = time.monotonic()
        self._last = 0.0
        self._shown: _Shown | None = None
        self._silent = False

    def __call__(self, tables: int, rows: int) -> None:
        found = f"{tables:,} tables" + (f", {rows:,} rows" if rows else "")
        self._show(f"{self.what}: {found}", tables, None)

    def step(self, done: int, total: int | None = None) -> None:
        """So many of ``total`` are done."""
        of = "" if total is None else f" of {total:,}"
        self._show(f"{self.what}: {done:,}{of}", done, total)

    def _show(self, text: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if self._silent or now - self._started < PATIENCE or now - self._last < _INTERVAL:
            return
        self._last = now
        if self._shown is None:
            self._shown = _display()
            self._silent = self._shown is None
        if self._shown is not None:
            self._shown.show(text, done, total)

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._shown is not None:
            self._shown.close()


@contextmanager
def reporting(given: Report | bool | None, what: str) -> Iterator[Report | None]:
    """What to give a walk as its callback: the one that was given; where none was, one
    that shows a bar in notebooks; with True on a terminal too; with False none."""
    if callable(given):
        yield given
    elif given or (given is None and in_notebook()):
        with Progress(what) as shown:
            yield shown
    else:
        yield None
