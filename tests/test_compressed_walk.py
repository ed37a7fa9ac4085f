"""Walking a kdump-compressed image decompresses each page of tables once."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden_cases import Case
from oracle.kdump_writer import HOLE, Kdump, Page

import fastwalk as fw

PAGE = 4096


def compressed(case: Case, path: Path) -> None:
    """The case's tables, from the first page to the last."""
    pages: dict[int, bytes] = {}
    for pa, data in case.memory.memory.segments:
        for at in range(0, len(data), PAGE):
            pages[(pa + at) // PAGE] = data[at : at + PAGE].ljust(PAGE, b"\0")
    content: list[Page] = [pages.get(number, HOLE) for number in range(max(pages) + 1)]
    big_endian = case.layout.arch == "s390x"
    path.write_bytes(Kdump(content, machine=case.layout.arch, big_endian=big_endian).write())


# s390x has page tables of 2 KiB, i386 roots of 32 bytes: several tables lie in one page.
@pytest.mark.parametrize(
    "name", ["x86_64-6.12-4level", "x86_64-6.12-kasan", "s390x-6.12-kasan", "i386-6.12-pae"]
)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("work", ["walk", "ptdump"])
def test_each_page_of_tables_once(name: str, threads: int, work: str, tmp_path: Path) -> None:
    case = Case(name)
    path = tmp_path / "vmcore"
    compressed(case, path)
    known = fw.open(path, layout=case.layout).kernel()
    found = known.tables()
    depths = known.mode.spec.depths
    sizes = [depth.entry_bytes << depth.index_bits for depth in depths]
    used = {
        page
        for pa, depth in zip(found.pa.tolist(), found.depth.tolist(), strict=True)
        for page in range(pa // PAGE, (pa + sizes[depth] - 1) // PAGE + 1)
    }
    image = fw.open(path, layout=case.layout)
    space = image.kernel()
    before = image.inner.loaded
    if work == "walk":
        assert len(space.walk(threads=threads)) > 0
    else:
        assert space.ptdump(threads=threads) == case.text(case.layout.default_view)
    assert image.inner.loaded - before <= len(used)
