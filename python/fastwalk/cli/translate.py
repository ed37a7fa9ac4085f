"""Show where virtual addresses lead, and through which tables.

Exit status 1 where any of them is not mapped.

example: fastwalk translate vmcore 0xffffffff81000000
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from . import _common as common

if TYPE_CHECKING:
    from fastwalk import AddressSpace
    from fastwalk.space import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    parser.add_argument(
        "addresses", nargs="+", type=common.address, metavar="ADDR", help="virtual addresses"
    )
    common.space_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Shows one path after the other."""
    space = common.choose_space(options)
    paths = [space.path(va) for va in options.addresses]
    for path in paths:
        show(space, path)
    return 1 if any(path.pa is None for path in paths) else 0


def show(space: AddressSpace, path: Path) -> None:
    """One path, as a person would want to read it."""
    from fastwalk import arch
    from fastwalk.words import permission_text, size_text

    spec = space.mode.spec
    label = common.labels(space)(path.va)
    print(f"{path.va:#018x}{label} in {space.root_name or 'the root'} ({spec.name})")
    for step in path.steps:
        digits = 2 * spec.depths[step.depth].entry_bytes
        entry = "not in the image" if step.entry is None else f"{step.entry:#0{digits + 2}x}"
        place = f"{step.name} table {step.table:#x} [{step.index}]"
        print(f"  {place:<36} {entry}")
    if path.pa is None:
        depth = f" at depth {path.steps[-1].depth}" if path.steps else ""
        print(f"  {path.status}{depth}")
        return
    below = spec.depths[path.steps[-1].depth + 1 :]
    page = 1 << (spec.page_bits + sum(depth.index_bits for depth in below))
    names = " ".join(arch.decode(spec.name, path.attributes))
    allowed = permission_text(path.effective, spec.permissions)
    print(f"  -> {path.pa:#x} in a {size_text(page)} page, effective {allowed}, {names}")
