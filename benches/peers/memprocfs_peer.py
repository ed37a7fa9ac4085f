"""MemProcFS: the PTE map of the process that it makes of a root when it finds no Windows.

Ranges are merged by protection only, and have no physical address. It gives up after
131,071 of them without a word; what it found until then is told with its pages.
"""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from typing import Any

import memprocfs
from job import Job, answer


def walk(job: Job) -> dict[str, Any]:
    """One round: what is read stays in its cache."""
    vmm = memprocfs.Vmm(
        ["-device", job.path, "-cr3", hex(job.root), "-disable-python", "-disable-symbols"]
    )
    process = vmm.process_list()[0]
    start = time.perf_counter()
    found = process.maps.pte()
    seconds = time.perf_counter() - start
    first, last = found[0], found[-1]
    if not job.start <= first["va"] <= last["va"] + last["size"] <= job.end:
        sys.exit("ranges outside of what is mapped")
    return {
        "seconds": [seconds],
        "pages": sum(entry["pages"] for entry in found),
        "ranges": {"rows": len(found)},
    }


answer(version("memprocfs"), walk)
