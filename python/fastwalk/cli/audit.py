"""List leaves that are writable and executable, with effective permissions, and count their
pages as the kernel's boot check does.

Exit status 1 where there are any.

example: fastwalk audit vmcore
"""

from __future__ import annotations

import argparse

from . import _common as common


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.image_arguments(parser)
    common.space_arguments(parser)
    common.work_arguments(parser)


def run(options: argparse.Namespace) -> int:
    """Lists and counts."""
    from fastwalk.analysis.audit import writable_executable

    space = common.choose_space(options)
    maps = space.walk(threads=options.threads, isa=options.isa, budget=options.budget)
    for warning in maps.warnings:
        common.warn(warning)
    found, pages = writable_executable(maps, space.layout)
    for index in range(len(found)):
        print(found.row_text(index).lstrip())
    if pages:
        print(f"Checked W+X mappings: FAILED, {pages} W+X pages found.")
        return 1
    print("Checked W+X mappings: passed, no W+X pages found.")
    return 0
