"""Walk and audit many images, one row each: kernel, what is mapped, page tables, W+X pages,
findings. An image that cannot be read is a row that says why.

Images are files, folders (all files in them) or, with fsspec, URLs. Exit status 1 where any
has W+X pages, 2 where none could be read.

example: fastwalk bulk dumps/ --format parquet -o fleet.parquet
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import _common as common
from . import _output as output

if TYPE_CHECKING:
    from fastwalk.bulk import Result


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of them")
    parser.add_argument(
        "--layouts",
        metavar="PATTERN",
        help="the layout file of each image; {dir}, {name} and {stem} stand for the image's: "
        "{dir}/layout.json",
    )
    parser.add_argument("--workers", type=common.count, metavar="N", help="processes")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a dask cluster, to work there")
    output.arguments(parser, "text", "csv", "json", *output.COLUMNAR)


def run(options: argparse.Namespace) -> int:
    """Walks them."""
    from fastwalk import bulk
    from fastwalk.progress import Progress

    images = [image for given in options.images for image in _files(given)]
    if not images:
        raise common.UsageError("no files there; give images, or folders that have some")
    layouts = {}
    if options.layouts is not None:
        layouts = {image: _layout(options.layouts, image) for image in images}
    with Progress("images") as shown:
        results = bulk.bulk(
            images,
            layouts=layouts,
            workers=options.workers,
            scheduler=options.scheduler,
            progress=shown.step,
        )
    if options.format == "text":
        with output.text(options.output) as out:
            for result in results:
                out.write(_line(result) + "\n")
    else:
        output.write_frame(bulk.frame_of(results), options)
    if all(result.error for result in results):
        return 2
    return 1 if any(result.wx_pages for result in results) else 0


def _files(given: str) -> list[str]:
    if "://" in given or not Path(given).is_dir():
        return [given]
    return sorted(str(path) for path in Path(given).iterdir() if path.is_file())


def _layout(pattern: str, image: str) -> str:
    path = Path(image)
    try:
        return pattern.format(dir=path.parent, name=path.name, stem=path.stem)
    except (KeyError, IndexError, ValueError):
        raise common.UsageError(
            f"--layouts: {pattern!r} is no pattern; write one such as {{dir}}/layout.json"
        ) from None


def _line(result: Result) -> str:
    from fastwalk.words import rough_size

    if result.error:
        return f"{result.image}: {result.error.removeprefix(f'{result.image}: ')}"
    found = f"{result.errors} errors, {result.warnings} warnings, {result.notes} notes"
    partial = "" if result.complete else ", incomplete"
    return (
        f"{result.image}: Linux {result.kernel}, {result.mode}, {rough_size(result.mapped)} mapped "
        f"in {result.rows} ranges, {result.tables} tables, {result.wx_pages} W+X pages; "
        f"{found}{partial}"
    )
