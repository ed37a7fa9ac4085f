"""What a peer is asked, and how it answers. Runs in the peer's own environment: only the
standard library is used here.

    PYTHON NAME_peer.py walk IMAGE.json
    PYTHON NAME_peer.py translate IMAGE.json ADDRESSES

IMAGE.json is what images.py wrote beside the image; ADDRESSES is a file of 64-bit words.
The answer is JSON on standard output: version, seconds of each round, and what was found,
which run.py compares with what the image was made to give.
"""

from __future__ import annotations

import array
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SKIP = 4096
"""Where physical address 0 is in an image's file (images.SKIP)."""
MODULO = 1 << 64

Range = tuple[int, int, int]
"""Virtual address, size, physical address."""


@dataclass
class Job:
    """An image: its file, the root, and the range of virtual addresses that is walked."""

    path: str
    root: int
    start: int
    end: int


def load(path: str) -> Job:
    """The job that is described in a file."""
    made = json.loads(Path(path).read_text())
    return Job(made["path"], made["roots"][0], made["start"], made["end"])


def merged(pages: Iterable[Range]) -> list[Range]:
    """Pages that follow each other in virtual and in physical memory, as one range."""
    ranges: list[Range] = []
    start = size = pa = 0
    for va, length, where in pages:
        if size and va == start + size and where == pa + size:
            size += length
            continue
        if size:
            ranges.append((start, size, pa))
        start, size, pa = va, length, where
    if size:
        ranges.append((start, size, pa))
    return ranges


def sums(ranges: list[Range]) -> dict[str, int]:
    """Count and sums, as images.Answer has them."""
    return {
        "rows": len(ranges),
        "start": sum(r[0] for r in ranges) % MODULO,
        "size": sum(r[1] for r in ranges) % MODULO,
        "pa": sum(r[2] for r in ranges) % MODULO,
    }


def answer(
    version: str,
    walk: Callable[[Job], dict[str, Any]],
    translate: Callable[[Job, array.array[int]], list[int]] | None = None,
) -> None:
    """Does what the command line asks. ``walk`` returns what it found, with its seconds
    (opening is not measured, so it takes the time itself); ``translate`` is measured as
    a whole but for its first call, with one address, which opens the image."""
    what, job = sys.argv[1], load(sys.argv[2])
    if what == "walk":
        found = walk(job)
    elif translate is None:
        found = {"missing": "translates nothing in bulk"}
    else:
        vas = array.array("Q")
        vas.frombytes(Path(sys.argv[3]).read_bytes())
        translate(job, vas[:1])
        start = time.perf_counter()
        pas = translate(job, vas)
        seconds = time.perf_counter() - start
        found = {"seconds": [seconds], "count": len(pas), "sum": sum(pas) % MODULO}
    print(json.dumps({"version": version} | found))
