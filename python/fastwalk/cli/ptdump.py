"""Print what /sys/kernel/debug/kernel_page_tables (page_tables/kernel on x86) would have
printed on that machine, byte for byte.

With --check, print the first differing line of each hunk instead, and exit with 1 if there
is any.

example: fastwalk ptdump vmcore
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from fastwalk.errors import FastwalkError

from . import _common as common


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    common.space_arguments(parser)
    common.work_arguments(parser)
    parser.add_argument("--dialect", metavar="VERSION", help="kernel whose text to print: 6.12")
    parser.add_argument("--check", metavar="FILE", help="compare with a text saved from debugfs")


def run(options: argparse.Namespace) -> int:
    """Prints or compares."""
    from fastwalk import arch

    space = common.choose_space(options)
    image = space.image
    chosen = arch.dialect_of(space.layout, space.view, options.dialect, image.try_read)
    if not chosen.exact:
        common.warn(
            f"there is no dialect of Linux {chosen.asked}; the nearest one, of "
            f"{chosen.dialect.version}, is used"
        )
    for assumption in image.assumptions:
        common.warn(assumption)
    pieces, absent = space.ptdump_pieces(
        dialect=options.dialect,
        threads=options.threads,
        isa=options.isa,
        budget=options.budget,
        progress=True,
    )
    if absent:
        common.warn(
            f"{absent} page tables are not in the image; their lines say so, and what they map "
            f"is not known"
        )
    if options.check is None:
        for piece in pieces:
            sys.stdout.write(piece)
        return 0
    status = 0
    for line in differences(_saved(options.check), "".join(pieces)):
        status = 1
        print(line)
    return status


def _saved(path: str) -> str:
    try:
        # Ends of lines are compared as they are.
        with open(path, "rb") as file:
            return file.read().decode()
    except OSError as error:
        raise FastwalkError(f"{path}: {error.strerror}; give a text saved from debugfs") from None
    except UnicodeDecodeError:
        raise FastwalkError(f"{path}: is no text; give one saved from debugfs") from None


def differences(saved: str, ours: str) -> Iterator[str]:
    """The first differing line of each hunk, as it was saved and as the image has it."""
    from ._hunks import hunks

    if saved == ours:
        return
    a, b = saved.splitlines(), ours.splitlines()
    differ = False
    for i, i_end, j, j_end in hunks(a, b):
        differ = True
        yield f"@@ saved line {i + 1} ({i_end - i} lines), image line {j + 1} ({j_end - j} lines)"
        if i < i_end:
            yield f"-{a[i]}"
        if j < j_end:
            yield f"+{b[j]}"
    if not differ:
        yield "@@ the lines are equal, the ends of lines are not"
