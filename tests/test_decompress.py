"""Compressed images: decompressed once, with progress, under a limit, as the user says."""

from __future__ import annotations

import gzip
from pathlib import Path

import elfwriter
import pytest

import fastwalk as fw
from fastwalk.errors import ImageError


@pytest.fixture
def compressed(tmp_path: Path) -> Path:
    path = tmp_path / "image.gz"
    path.write_bytes(gzip.compress(elfwriter.core([(0x1000, b"page" * 1024)], "x86_64")))
    return path


def test_is_read_through(compressed: Path) -> None:
    assert fw.open(compressed).read(0x1000, 8) == b"pagepage"
    assert fw.open(compressed.read_bytes()).read(0x1000, 8) == b"pagepage"


def test_progress_is_told(compressed: Path) -> None:
    seen: list[tuple[int, int, int]] = []
    fw.open(compressed, progress=lambda *at: seen.append(at))
    assert seen[-1][0] <= seen[-1][1] == compressed.stat().st_size


def test_a_callback_stops_it(compressed: Path) -> None:
    with pytest.raises(ImageError, match=r"image\.gz"):
        fw.open(compressed, progress=lambda *at: True)


def test_what_a_callback_raises_comes_out(compressed: Path) -> None:
    def fail(*at: int) -> None:
        raise LookupError("no more")

    with pytest.raises(LookupError, match="no more"):
        fw.open(compressed, progress=fail)


def test_a_limit_is_kept(compressed: Path) -> None:
    with pytest.raises(ImageError, match=r"image\.gz.*limit"):
        fw.open(compressed, decompress_limit=0)


def test_the_folder_is_used(compressed: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="nowhere"):
        fw.open(compressed, decompress_folder=tmp_path / "nowhere")
