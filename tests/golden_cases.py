"""The recorded kernels under tests/golden/, and a minimal reader of ELF cores for them.

Each case is an xz-compressed tar made by ``golden/pack.py``: tables.elf, layout.json,
case.json, the kernel's texts. The reader here is independent of the package's own image
readers on purpose.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fastwalk import layout
from fastwalk.layout import Layout

GOLDEN = Path(__file__).parent / "golden"

PT_LOAD = 1


class ElfCore:
    """Physical memory of an ELF core: PT_LOAD segments by p_paddr."""

    def __init__(self, data: bytes) -> None:
        assert data[:4] == b"\x7fELF"
        order = "<" if data[5] == 1 else ">"
        wide = data[4] == 2
        (phoff,) = struct.unpack_from(order + ("Q" if wide else "I"), data, 32 if wide else 28)
        (count,) = struct.unpack_from(order + "H", data, 56 if wide else 44)
        segments = []
        for index in range(count):
            if wide:
                kind, _flags, offset, _va, pa, filesz, memsz, _align = struct.unpack_from(
                    order + "IIQQQQQQ", data, phoff + index * 56
                )
            else:
                kind, offset, _va, pa, filesz, memsz, _flags, _align = struct.unpack_from(
                    order + "IIIIIIII", data, phoff + index * 32
                )
            if kind == PT_LOAD:
                content = data[offset : offset + filesz].ljust(memsz, b"\0")
                segments.append((pa, content))
        self.memory = Segments(segments)

    def read(self, pa: int, n: int) -> bytes | None:
        return self.memory.read(pa, n)


class Segments:
    """Physical memory given as (pa, bytes) pieces that do not overlap."""

    def __init__(self, segments: list[tuple[int, bytes]]) -> None:
        self.segments = sorted(segments)
        self.starts = [pa for pa, _ in self.segments]

    def read(self, pa: int, n: int) -> bytes | None:
        """The bytes pa .. pa+n, which may lie in several adjacent pieces, or None."""
        result = b""
        while len(result) < n:
            at = pa + len(result)
            index = bisect_right(self.starts, at) - 1
            if index < 0:
                return None
            start, content = self.segments[index]
            piece = content[at - start : at - start + n - len(result)]
            if not piece:
                return None
            result += piece
        return result


@dataclass(frozen=True)
class Case:
    """One recorded machine."""

    name: str

    @cached_property
    def files(self) -> dict[str, bytes]:
        with tarfile.open(GOLDEN / f"{self.name}.tar.xz") as tar:
            members = [member for member in tar.getmembers() if member.isfile()]
            return {m.name: reader.read() for m in members if (reader := tar.extractfile(m))}

    @property
    def layout(self) -> Layout:
        return layout.loads(self.files["layout.json"], f"{self.name}/layout.json")

    @property
    def case(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.files["case.json"])
        return result

    @property
    def memory(self) -> ElfCore:
        return ElfCore(self.files["tables.elf"])

    def text(self, view: str) -> str:
        """What the kernel printed for a view."""
        return self.files[self.case["views"][view]["text"]].decode()

    def extract(self, folder: Path) -> Path:
        """Write tables.elf and layout.json into a folder, for tests of files."""
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
        return folder


def names() -> list[str]:
    """The recorded cases."""
    return sorted(path.name.removesuffix(".tar.xz") for path in GOLDEN.glob("*.tar.xz"))


def pack(files: dict[str, bytes]) -> bytes:
    """The archive of a case: the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz", preset=9) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return buffer.getvalue()
