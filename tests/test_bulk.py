"""Many images at once."""

from __future__ import annotations

import json
from pathlib import Path

import golden_cases
import pytest

import fastwalk
from fastwalk import bulk
from fastwalk.cli import run
from fastwalk.errors import WalkCancelledError

NAMES = ("x86_64-6.12-wx", "arm64-6.12-4k-48", "s390x-6.12")


@pytest.fixture
def fleet(tmp_path: Path) -> list[str]:
    images = []
    for name in NAMES:
        case = golden_cases.Case(name)
        (tmp_path / f"{name}.elf").write_bytes(case.files["tables.elf"])
        (tmp_path / f"{name}.json").write_bytes(case.files["layout.json"])
        images.append(str(tmp_path / f"{name}.elf"))
    (tmp_path / "broken.elf").write_bytes(b"\x7fELF")
    return [*images, str(tmp_path / "broken.elf")]


def layouts(images: list[str]) -> dict[str, str]:
    return {image: str(Path(image).with_suffix(".json")) for image in images[:-1]}


def test_one_row_an_image_in_their_order(fleet: list[str]) -> None:
    seen: list[tuple[int, int]] = []
    results = bulk.bulk(
        fleet, layouts=layouts(fleet), workers=1, progress=lambda *at: seen.append(at)
    )
    assert [result.image for result in results] == fleet
    assert seen == [(n, 4) for n in range(1, 5)]
    assert [result.wx_pages for result in results[:-1]] == [6, 1, 0]
    assert results[-1].error
    assert "\n" not in results[-1].error
    for result, name in zip(results, NAMES, strict=False):
        case = golden_cases.Case(name)
        space = fastwalk.open(case.files["tables.elf"], layout=case.layout).kernel()
        maps = space.walk()
        assert result.rows == len(maps)
        assert result.mapped == int(maps.size[maps.is_leaf].sum())
        assert result.tables == len(space.tables())
        assert result.kernel == case.layout.kernel
        assert result.complete


def test_processes_give_what_one_gives(fleet: list[str]) -> None:
    alone = bulk.bulk(fleet, layouts=layouts(fleet), workers=1)
    assert bulk.bulk(fleet, layouts=layouts(fleet), workers=2) == alone


def test_it_can_be_cancelled(fleet: list[str]) -> None:
    with pytest.raises(WalkCancelledError, match="after 1 of 4"):
        bulk.bulk(fleet, layouts=layouts(fleet), workers=1, progress=lambda done, total: True)


def test_urls_are_copied_first(fleet: list[str]) -> None:
    url = f"file://{fleet[0]}"
    (result,) = bulk.bulk([url], layouts={url: layouts(fleet)[fleet[0]]}, workers=1)
    assert (result.image, result.wx_pages, result.error) == (url, 6, "")
    (missing,) = bulk.bulk(["nothing-known://a/b"], workers=1)
    assert missing.error


def test_the_command(fleet: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for image in layouts(fleet).values():
        Path(image).rename(Path(image).with_suffix(".layout"))
    folder = tmp_path / "images"
    folder.mkdir()
    for image in fleet:
        Path(image).rename(folder / Path(image).name)
    pattern = f"{tmp_path}/{{stem}}.layout"
    (tmp_path / "broken.layout").write_text("{}")
    arguments = ["bulk", str(folder), "--layouts", pattern, "--workers", "1"]
    assert run(arguments) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(fleet)
    assert any("6 W+X pages; 1 errors" in line or "6 W+X pages; 2 errors" in line for line in lines)
    assert run([*arguments, "--format", "json"]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["wx_pages"] for row in rows) == [0, 0, 1, 6]
    assert run(["bulk", str(folder / "broken.elf")]) == 2
    assert run([*arguments[:2], "--layouts", "{nothing}"]) == 2
    assert "is no pattern" in capsys.readouterr().err
    out = tmp_path / "fleet.parquet"
    assert run([*arguments, "--format", "parquet", "-o", str(out)]) == 1
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(out)
    assert table.num_rows == len(fleet)
    assert table["complete"].to_pylist().count(True) == len(NAMES)


@pytest.mark.filterwarnings("ignore")  # of dask's own making
def test_a_dask_cluster_gives_the_same(fleet: list[str]) -> None:
    import distributed

    alone = bulk.bulk(fleet, layouts=layouts(fleet), workers=1)
    with distributed.LocalCluster(  # type: ignore[no-untyped-call]
        n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
    ) as cluster:
        there = bulk.bulk(fleet, layouts=layouts(fleet), scheduler=cluster.scheduler_address)
    assert there == alone
