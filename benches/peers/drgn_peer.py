"""drgn: the function behind ``follow_phys()``, a page at a time; ranges are merged by
address here.

drgn wants a kernel: VMCOREINFO is made up so that the image's root is swapper_pg_dir, the
only table that drgn finds without another one.
"""

from __future__ import annotations

import array
import functools
import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from _drgn import _linux_helper_follow_phys
from drgn import FaultError, Object, Program
from job import Job, Range, answer, merged, sums

START_KERNEL_MAP = 0xFFFF_FFFF_8000_0000
"""__START_KERNEL_map: where physical address phys_base is in a kernel's image."""
VMCOREINFO = """\
OSRELEASE=6.12.0
PAGESIZE=4096
SYMBOL(init_uts_ns)=ffffffff81000000
SYMBOL(_stext)=ffffffff81000000
SYMBOL(swapper_pg_dir)={root:x}
KERNELOFFSET=0
NUMBER(phys_base)=0
NUMBER(pgtable_l5_enabled)=0
"""


@functools.cache
def opened(path: str, root: int) -> tuple[Program, Object]:
    """The image, and its root."""
    at = START_KERNEL_MAP + root
    program = Program(vmcoreinfo=VMCOREINFO.format(root=at))
    program.set_core_dump(path)
    return program, Object(program, program.int_type("unsigned long", 8, False), at)


def pages(job: Job) -> Iterator[Range]:
    """Every page that leads somewhere."""
    program, root = opened(job.path, job.root)
    follow = _linux_helper_follow_phys
    for va in range(job.start, job.end, 4096):
        try:
            pa = follow(program, root, va)
        except FaultError:
            continue
        yield va, 4096, pa


def walk(job: Job) -> dict[str, Any]:
    """All pages, in order."""
    opened(job.path, job.root)
    start = time.perf_counter()
    ranges = merged(pages(job))
    seconds = time.perf_counter() - start
    return {
        "seconds": [seconds],
        "pages": sum(size for _, size, _ in ranges) >> 12,
        "ranges": sums(ranges),
    }


def translate(job: Job, vas: array.array[int]) -> list[int]:
    """Addresses of mapped memory, one at a time."""
    program, root = opened(job.path, job.root)
    return [_linux_helper_follow_phys(program, root, va) for va in vas]


answer(version("drgn"), walk, translate)
