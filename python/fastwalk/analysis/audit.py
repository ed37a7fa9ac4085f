"""What should not be mapped like that."""

from __future__ import annotations

import numpy as np

from ..arch.spec import EXEC, WRITE
from ..layout import Layout
from ..mappings import Mappings


def writable_executable(maps: Mappings, layout: Layout) -> tuple[Mappings, int]:
    """Leaves that the kernel can write and execute, and how many pages they are.

    What the kernel's own check at boot counts (ptdump_check_wx; x86:
    ptdump_walk_pgd_level_checkwx).
    """
    wanted = WRITE | EXEC
    both = (maps.effective & np.uint8(wanted)) == wanted
    found = maps[maps.is_leaf & both]
    assert isinstance(found, Mappings)
    return found, int(found.size.sum(dtype=np.uint64)) // layout.page_size
