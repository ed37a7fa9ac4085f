"""libkdumpfile (python3-libkdumpfile) reads the same kdump files and agrees page by page."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path

import pytest
from oracle.kdump_writer import EXCLUDED, HOLE, PACKERS, Kdump, Page

import fastwalk as fw

SYSTEM_PYTHON = "/usr/bin/python3"
READER = Path(__file__).with_name("libkdumpfile_pages.py")
PAGE = 4096


def pages(count: int, seed: int) -> list[Page]:
    """Tables, text, noise and zeros, with holes and pages that were left out."""
    dice = random.Random(seed)

    def page(number: int) -> Page:
        kind = dice.randrange(7)
        if kind == 0:
            return HOLE
        if kind == 1:
            return EXCLUDED
        if kind == 2:
            return bytes(PAGE)
        if kind == 3:
            return dice.randbytes(PAGE)
        if kind == 4:
            return (b"page %d of some text, " % number * PAGE)[:PAGE]
        first = dice.randrange(1 << 40)
        entries = (((first + i) << 12 | 0x63).to_bytes(8, "little") for i in range(PAGE // 8))
        return b"".join(entries)

    return [page(number) for number in range(count)]


def theirs(path: Path, count: int, zero: bool) -> list[str]:
    mode = "zero" if zero else "absent"
    command = [SYSTEM_PYTHON, str(READER), str(path), str(count), mode]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def ours(path: Path, count: int) -> list[str]:
    image = fw.open(path)
    assert image.format == "kdump"
    found = (image.try_read(PAGE * number, PAGE) for number in range(count))
    return ["excluded" if data is None else hashlib.sha256(data).hexdigest() for data in found]


MACHINES = {
    "x86_64": (64, False),
    "i686": (32, False),
    "aarch64": (64, False),
    "ppc64": (64, True),
    "s390x": (64, True),
}


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("machine", MACHINES)
def test_every_packing_and_machine(packing: str, machine: str, tmp_path: Path) -> None:
    bits, big_endian = MACHINES[machine]
    content = pages(300, seed=len(packing))
    path = tmp_path / "vmcore"
    path.write_bytes(Kdump(content, packing, machine, bits, big_endian).write())
    read = ours(path, len(content))
    assert read == theirs(path, len(content), zero=False)
    # And both are right.
    expected = [
        "excluded" if isinstance(p, str) else hashlib.sha256(p).hexdigest() for p in content
    ]
    assert read == expected


@pytest.mark.parametrize("level", [1, 31])
def test_pages_of_zeros_that_were_left_out(level: int, tmp_path: Path) -> None:
    content = pages(200, seed=level)
    path = tmp_path / "vmcore"
    path.write_bytes(Kdump(content, level=level).write())
    zeros = hashlib.sha256(bytes(PAGE)).hexdigest()
    read, other = ours(path, len(content)), theirs(path, len(content), zero=True)
    for number, page in enumerate(content):
        # libkdumpfile knows no difference between no memory and memory left out.
        assert other[number] == (zeros if page == HOLE else read[number])
        assert (read[number] == "excluded") == (page == HOLE)


@pytest.mark.parametrize("count", [1, 32767, 32768, 32769, 70_000])
def test_bitmaps_of_several_blocks(count: int, tmp_path: Path) -> None:
    last = (b"the last page" * PAGE)[:PAGE]
    sparse: list[Page] = [HOLE] * (count - 1)
    sparse[::1000] = [bytes([1 + n % 255]) * PAGE for n in range(len(sparse[::1000]))]
    path = tmp_path / "vmcore"
    path.write_bytes(Kdump([*sparse, last]).write())
    assert ours(path, count) == theirs(path, count, zero=False)


@pytest.mark.parametrize("version", range(1, 7))
def test_versions_of_the_header(version: int, tmp_path: Path) -> None:
    content = pages(64, seed=version)
    path = tmp_path / "vmcore"
    path.write_bytes(Kdump(content, version=version).write())
    assert ours(path, 64) == theirs(path, 64, zero=False)
