"""The same question of many images: processes of this machine, or a dask cluster.

Each image gives one row (:class:`Result`); one that cannot be read gives a row that says why,
and the others go on. Images are paths; with fsspec installed also its URLs
(``s3://bucket/vmcore``), which are copied to a temporary file one by one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import FastwalkError

if TYPE_CHECKING:
    from .frames import Frame


class Result(NamedTuple):
    """What one image came to."""

    image: str
    error: str = ""
    """Why there is nothing else; empty where there is."""
    arch: str = ""
    mode: str = ""
    kernel: str = ""
    root: int = 0
    rows: int = 0
    """Of the walk, by attributes."""
    mapped: int = 0
    """Bytes."""
    tables: int = 0
    table_bytes: int = 0
    wx_pages: int = 0
    errors: int = 0
    """Findings of the audit, by severity."""
    warnings: int = 0
    notes: int = 0
    complete: bool = False
    """Whether all page tables were in the image."""


_TEXTS = ("image", "error", "arch", "mode", "kernel")


def examine(image: str, layout: str | None = None) -> Result:
    """Walks and audits the kernel's address space of one image."""
    from . import open as open_image
    from .audited import findings, walk

    try:
        with _local(image) as path:
            opened = open_image(path, layout=layout)
            space = opened.kernel()
            maps = walk(space, threads=1)
            tables = space.tables(threads=1)
            found = findings(maps, tables, opened)
            severities = found.severities()
            spec = space.mode.spec
            return Result(
                image=image,
                arch=spec.arch,
                mode=spec.name,
                kernel=space.layout.kernel,
                root=space.root,
                rows=space.count().rows,
                mapped=int(maps.size[maps.is_leaf].sum()),
                tables=len(tables),
                table_bytes=int(tables.table_bytes.sum()),
                wx_pages=found.wx_pages,
                errors=severities["error"],
                warnings=severities["warning"],
                notes=severities["note"],
                complete=maps.complete,
            )
    except (FastwalkError, OSError) as error:
        return Result(image=image, error=" ".join(str(error).split()))


@contextmanager
def _local(image: str) -> Iterator[str]:
    """The image as a file of this machine."""
    if "://" not in image:
        yield image
        return
    import shutil
    import tempfile

    from .frames import library

    fsspec = library("fsspec", "an image by its URL")
    with tempfile.TemporaryDirectory(prefix="fastwalk-") as folder:
        path = os.path.join(folder, os.path.basename(image) or "image")
        try:
            with fsspec.open(image, "rb") as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 22)
        except (ImportError, ValueError) as error:
            # No such protocol, or its library is not installed.
            raise FastwalkError(f"{image}: {error}") from None
        yield path


def bulk(
    images: Iterable[str | os.PathLike[str]],
    *,
    layouts: dict[str, str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> list[Result]:
    """Results of all images, in their order.

    ``layouts``: layout files by the image's name, for images that do not say it all
    themselves. ``workers``: processes (default: as many as there are processors).
    ``scheduler``: the address of a dask cluster, to work there instead. ``progress``: called
    with (done, all) as results come in; returning something true ends the work:
    WalkCancelledError.
    """
    names = [os.fspath(image) for image in images]
    layouts = layouts or {}
    tasks = [partial(examine, name, layouts.get(name)) for name in names]
    results: dict[int, Result] = {}
    for number, result in _run(tasks, workers, scheduler):
        results[number] = result
        if progress is not None and progress(len(results), len(tasks)):
            from .errors import WalkCancelledError

            raise WalkCancelledError(f"ended after {len(results)} of {len(tasks)} images")
    return [results[number] for number in range(len(names))]


def _run(
    tasks: list[partial[Result]], workers: int | None, scheduler: str | None
) -> Iterator[tuple[int, Result]]:
    if scheduler is not None:
        yield from _on_dask(tasks, scheduler)
        return
    workers = min(workers or os.cpu_count() or 1, len(tasks))
    if workers <= 1:
        yield from ((number, task()) for number, task in enumerate(tasks))
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from multiprocessing import get_context

    # Not forked: this process may have threads.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(task): number for number, task in enumerate(tasks)}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            for future in running:
                future.cancel()


def _on_dask(tasks: list[partial[Result]], scheduler: str) -> Iterator[tuple[int, Result]]:
    from .frames import library

    distributed: Any = library("distributed", "a dask cluster")
    with distributed.Client(scheduler) as client:
        running = {client.submit(task, pure=False): n for n, task in enumerate(tasks)}
        for done in distributed.as_completed(list(running)):
            yield running[done], done.result()


def frame_of(results: list[Result]) -> Frame:
    """Results as columns: texts as categoricals, numbers as uint64."""
    import numpy as np

    from .frames import Frame, categorical

    columns: dict[str, np.ndarray] = {}
    categories = {}
    for name in Result._fields:
        values = [getattr(result, name) for result in results]
        if name in _TEXTS:
            columns[name], categories[name] = categorical(values)
        else:
            columns[name] = np.array(values, bool if name == "complete" else np.uint64)
    return Frame(columns, categories, {"what": "bulk"})
