"""Cut a whole dump down to what detection reads: ``python tests/cut_dump.py DUMP CASE``.

Detection runs on the dump and every page is kept that it reads by itself, that is,
not while it searches: names, the marker array, `init_uts_ns`, VMCOREINFO, variables. The
page tables are those of the recorded case (``golden/CASE.tar.xz``) and are not kept
again. ``--kallsyms`` keeps the symbol table too, which is large.

The result, ``golden/detect/CASE.tar.xz``, holds the container's notes, VMCOREINFO and
the pages, and is read by :class:`CutImage`.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
from pathlib import Path

TESTS = Path(__file__).resolve().parent
sys.path[:0] = [str(TESTS), str(TESTS.parent / "python")]

from golden_cases import GOLDEN, Case, Segments, pack  # noqa: E402

from fastwalk.detect import PhysicalMemory, detect  # noqa: E402
from fastwalk.errors import FastwalkError  # noqa: E402

PAGE = 4096
CUTS = GOLDEN / "detect"
_SEARCH = 16 << 10
_KALLSYMS = 2 << 20


class Recorder:
    """An image that remembers which pages were read in pieces smaller than `limit`."""

    def __init__(self, image: PhysicalMemory, limit: int) -> None:
        self._image, self._limit = image, limit
        self.pages: set[int] = set()
        self.format = image.format
        self.notes = image.notes
        self.vmcoreinfo = image.vmcoreinfo
        self.registers = image.registers
        self.machine = image.machine

    def segments(self) -> list[tuple[int, int, int | None]]:
        return list(self._image.segments())

    def try_read(self, pa: int, size: int) -> bytes | None:
        data = self._image.try_read(pa, size)
        if data is not None and size <= self._limit:
            self.pages.update(range(pa // PAGE, (pa + size - 1) // PAGE + 1))
        return data


class CutImage:
    """A cut dump together with the page tables of its case."""

    format = "cut"
    machine: tuple[int, int, bool] | None = None

    def __init__(
        self,
        pages: dict[int, bytes],
        notes: list[tuple[str, int, bytes]],
        vmcoreinfo: str | None,
        registers: list[tuple[int, str, int]],
        tables: list[tuple[int, bytes]],
    ) -> None:
        self.notes, self.vmcoreinfo, self.registers = notes, vmcoreinfo, registers
        for pa, data in tables:
            for at in range(0, len(data), PAGE):
                pages.setdefault(pa + at, data[at : at + PAGE])
        self.memory = Segments(sorted(pages.items()))

    def segments(self) -> list[tuple[int, int, int | None]]:
        return [(pa, len(data), None) for pa, data in self.memory.segments]

    def try_read(self, pa: int, size: int) -> bytes | None:
        return self.memory.read(pa, size)


def cut(image: PhysicalMemory, case: str, kallsyms: bool) -> dict[str, bytes]:
    """The files of the cut."""
    tables = Case(case).memory
    recorder = Recorder(image, _KALLSYMS if kallsyms else _SEARCH)
    detect(recorder)
    # Once more as if the container had said nothing.
    recorder.notes, recorder.vmcoreinfo, recorder.registers = [], None, []
    kernel = detect(recorder, spaces=kallsyms).kernel
    stext, etext = kernel.symbol("_stext"), kernel.symbol("_etext")
    assert stext is not None
    assert etext is not None
    code = range(kernel.pa(stext) // PAGE, kernel.pa(etext) // PAGE)
    pages = {
        page * PAGE: data
        for page in sorted(recorder.pages)
        if page not in code
        and tables.read(page * PAGE, PAGE) is None
        and (data := image.try_read(page * PAGE, PAGE)) is not None
    }
    notes = [(name, kind, bytes(data)) for name, kind, data in image.notes]
    about = (notes, image.vmcoreinfo, list(image.registers))

    def outcome(kept: dict[int, bytes]) -> object:
        told = CutImage(dict(kept), *about, tables.memory.segments)
        bare = CutImage(dict(kept), [], None, [], tables.memory.segments)
        try:
            found = detect(told, spaces=kallsyms), detect(bare, spaces=kallsyms)
        except FastwalkError:
            return None
        return [(d.layout, d.spaces) for d in found]

    # Pages that were looked at and make no difference are not kept.
    wanted = outcome(pages)
    for page in list(pages):
        fewer = {pa: data for pa, data in pages.items() if pa != page}
        if outcome(fewer) == wanted:
            pages = fewer
    files = {f"{pa:#x}": data for pa, data in pages.items()}
    files["about.json"] = json.dumps(
        {
            "notes": [(name, kind, data.hex()) for name, kind, data in notes],
            "vmcoreinfo": image.vmcoreinfo,
            "registers": list(image.registers),
        }
    ).encode()
    return files


def load(name: str) -> CutImage:
    pages: dict[int, bytes] = {}
    about: dict[str, list[tuple[str, int, str]]] = {}
    with tarfile.open(CUTS / f"{name}.tar.xz") as tar:
        for member in tar.getmembers():
            content = tar.extractfile(member)
            assert content is not None
            if member.name == "about.json":
                about = json.load(io.TextIOWrapper(content))
            else:
                pages[int(member.name, 16)] = content.read()
    notes = [(name, kind, bytes.fromhex(data)) for name, kind, data in about["notes"]]
    return CutImage(
        pages,
        notes,
        about["vmcoreinfo"],  # type: ignore[arg-type]
        about["registers"],  # type: ignore[arg-type]
        Case(name).memory.memory.segments,
    )


def names() -> list[str]:
    return sorted(path.name.removesuffix(".tar.xz") for path in CUTS.glob("*.tar.xz"))


def main() -> None:
    from fastwalk import _fastwalk

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dump", type=Path)
    parser.add_argument("case")
    parser.add_argument("--kallsyms", action="store_true", help="and the list of processes")
    given = parser.parse_args()
    packed = pack(cut(_fastwalk.open_path(given.dump), given.case, given.kallsyms))
    CUTS.mkdir(exist_ok=True)
    (CUTS / f"{given.case}.tar.xz").write_bytes(packed)
    print(f"{given.case}: {len(packed)} bytes")


if __name__ == "__main__":
    main()
