"""volatility3: ``Intel32e.mapping()``, which merges neighbours by address itself.

The layer below it is the fastest there can be: a read is one pread. It says that all
physical memory is there, because mapping() leaves out pages that are not in the image,
and of the generated images only the tables are.
"""

from __future__ import annotations

import os
import time
from importlib.metadata import version
from typing import Any

from job import SKIP, Job, answer, sums
from volatility3.framework import contexts, interfaces
from volatility3.framework.layers import intel


class Memory(interfaces.layers.DataLayerInterface):  # type: ignore[misc]  # not here
    """The image's file."""

    def __init__(self, context: Any, path: str) -> None:
        super().__init__(context=context, config_path="memory", name="memory")
        self.file = os.open(path, os.O_RDONLY)

    @property
    def maximum_address(self) -> int:
        return (1 << 52) - 1

    @property
    def minimum_address(self) -> int:
        return 0

    def is_valid(self, offset: int, length: int = 1) -> bool:
        return True

    def read(self, offset: int, length: int, pad: bool = False) -> bytes:
        return os.pread(self.file, length, SKIP + offset)

    def write(self, offset: int, data: bytes) -> None:
        """Layers have to have it; the image is not written to."""
        raise PermissionError("the image is only read")


def walk(job: Job) -> dict[str, Any]:
    """A fresh layer, so that nothing is cached."""
    context = contexts.Context()
    context.add_layer(Memory(context, job.path))
    context.config["layer.memory_layer"] = "memory"
    context.config["layer.page_map_offset"] = job.root
    layer = intel.Intel32e(context, "layer", "layer")
    context.add_layer(layer)
    start = time.perf_counter()
    first = layer.decanonicalize(job.start)
    found = list(layer.mapping(first, job.end - job.start, ignore_errors=True))
    seconds = time.perf_counter() - start
    ranges = [(layer.canonicalize(va), size, pa) for va, size, pa, _, _ in found]
    return {
        "seconds": [seconds],
        "pages": sum(size for _, size, _ in ranges) >> 12,
        "ranges": sums(ranges),
    }


answer(version("volatility3"), walk)
