"""Columns as frames: the same memory, the same values, and back from files."""

from __future__ import annotations

import gc
import hashlib
import json
import sys
from pathlib import Path

import duckdb
import golden_cases
import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

import fastwalk
from fastwalk.arch.spec import EXEC, WRITE
from fastwalk.cli import run
from fastwalk.errors import FastwalkError
from fastwalk.frames import Frame
from fastwalk.mappings import Mappings, Tables


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return golden_cases.Case("x86_64-6.12-wx").extract(tmp_path_factory.mktemp("wx"))


@pytest.fixture(scope="module")
def maps(case: Path) -> Mappings:
    image = fastwalk.open(case / "tables.elf", layout=case / "layout.json")
    return image.kernel().walk()


def address(column: np.ndarray) -> int:
    return int(column.ctypes.data)


def test_polars_has_the_memory_of_the_walk(maps: Mappings) -> None:
    frame = polars.DataFrame(maps)
    assert frame.height == len(maps)
    for name, column in maps.columns.items():
        theirs = frame[name].to_numpy(allow_copy=False)
        assert address(theirs) == address(column), name


def test_pyarrow_has_the_memory_of_the_walk(maps: Mappings) -> None:
    table = pyarrow.table(maps)
    batch = pyarrow.record_batch(maps)
    assert pyarrow.schema(maps).names == list(maps.columns) == table.column_names
    for name, column in maps.columns.items():
        assert table.column(name).chunk(0).buffers()[1].address == address(column)
        assert batch.column(name).buffers()[1].address == address(column)


def test_pandas_has_the_memory_of_the_walk(maps: Mappings) -> None:
    frame = maps.to_pandas()
    for name, column in maps.columns.items():
        assert np.shares_memory(frame[name].to_numpy(), column), name


def test_the_memory_outlives_the_mappings(case: Path) -> None:
    image = fastwalk.open(case / "tables.elf", layout=case / "layout.json")
    walked = image.kernel().walk()
    total = int(walked.size.sum())
    frame = polars.DataFrame(walked)
    del walked, image
    gc.collect()
    assert frame["size"].sum() == total


def test_ten_million_rows_in_polars_without_a_copy() -> None:
    # One page table and one page directory, hung up everywhere: 10.5 million leaves.
    entry = np.arange(512, dtype=np.uint64) << np.uint64(12)
    nx = np.uint64(1 << 63)
    leaves = entry | np.uint64(3) | np.where(entry % 8192 == 0, nx, np.uint64(0))
    tables = [np.zeros(512, np.uint64) for _ in range(2)]
    tables[0][0] = 0x1003
    tables[1][:40] = 0x2003
    directory = np.full(512, 0x3003, np.uint64)
    data = b"".join(t.tobytes() for t in (*tables, directory, leaves))
    image = fastwalk.open(data, format="raw")
    walked = image.space("x86_64-4level", root=0).walk(coalesce="none")
    assert len(walked) == 40 << 18
    frame = polars.DataFrame(walked)
    for name, column in walked.columns.items():
        assert address(frame[name].to_numpy(allow_copy=False)) == address(column), name
    executable = frame.filter(polars.col("effective") & EXEC != 0)
    assert executable.height == len(walked) // 2
    pages = frame.group_by("pa").agg(polars.len().alias("mappings"))
    assert pages.height == 512
    assert pages["mappings"].unique().to_list() == [40 << 9]
    joined = (
        frame.lazy()
        .join(pages.lazy(), on="pa")
        .select(polars.col("mappings").cast(polars.UInt64).sum())
        .collect()
    )
    assert joined.item() == len(walked) * (40 << 9)


def test_duckdb_finds_mappings_by_name(maps: Mappings) -> None:
    found = duckdb.sql("select count(*), sum(size) from maps")
    assert found is not None
    assert found.fetchall() == [(len(maps), int(maps.size.sum()))]


def test_structured_array(maps: Mappings) -> None:
    records = maps.to_numpy()
    assert records.dtype.names == tuple(maps.columns)
    assert (records["pa"] == maps.pa).all()


def test_filtered_strided_and_empty_columns(maps: Mappings) -> None:
    for picked in (maps[maps.writable], maps[::-3], maps[:0]):
        table = pyarrow.table(picked)
        table.validate(full=True)
        assert table["start"].to_pylist() == picked.start.tolist()


def test_decoded_columns(maps: Mappings) -> None:
    table = maps.to_arrow(decoded=True)
    table.validate(full=True)
    wanted = (maps.effective & (WRITE | EXEC)) == WRITE | EXEC
    both = np.array(table["effective_rw"]) & ~np.array(table["effective_nx"])
    assert (both == wanted).all()
    assert set(table["memory"].combine_chunks().to_pylist()) == {"WB", "UC", "UC-"}
    assert set(table["level"].combine_chunks().to_pylist()) == {"PMD", "PTE"}
    apic = table.slice(len(maps) - 1).to_pylist()[0]
    assert apic["flags"] == "P RW PWT PCD G NX"
    assert (apic["rw"], apic["nx"], apic["user"], apic["memory"]) == (True, True, False, "UC")
    frame = maps.to_pandas(decoded=True)
    assert isinstance(frame["memory"].dtype, pandas.CategoricalDtype)
    assert frame["flags"].astype(str).tolist() == table["flags"].combine_chunks().to_pylist()
    polars_frame = maps.to_polars(decoded=True)
    assert (
        polars_frame["memory"].cast(str).to_list() == table["memory"].combine_chunks().to_pylist()
    )


@pytest.mark.parametrize("name", golden_cases.names())
def test_own_permissions_of_every_architecture(name: str) -> None:
    """Without a table that restricts, what is left is what the entry says; it never is
    more. Memory types have names wherever the mode knows types."""
    case = golden_cases.Case(name)
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    for view in case.layout.views:
        maps = image.space(view=view).walk()
        leaves = maps[maps.is_leaf]
        frame = leaves.frame(decoded=True)
        assert not (frame["effective_rw"] & ~frame["rw"]).any()
        assert not (frame["nx"] & ~frame["effective_nx"]).any()
        assert not (frame["effective_user"] & ~frame["user"]).any()
        if name != "x86_64-6.12-effprot":
            assert (frame["rw"] == frame["effective_rw"]).mean() > 0.5
        known = len(frame.categories["memory"]) > 1
        assert (frame["memory"] != 0).all() == known


def test_parquet_and_back(case: Path, maps: Mappings, tmp_path: Path) -> None:
    path = tmp_path / "maps.parquet"
    maps.to_parquet(path, decoded=True)
    back = fastwalk.read(path)
    assert isinstance(back, Mappings)
    for name, column in maps.columns.items():
        assert back.columns[name].dtype == column.dtype
        assert (back.columns[name] == column).all()
    assert back.spec == maps.spec
    assert back.complete is maps.complete
    assert back.origin is not None
    assert maps.origin is not None
    assert back.origin.layout == maps.origin.layout
    assert back.origin.spaces == maps.origin.spaces
    digest = hashlib.sha256((case / "tables.elf").read_bytes()).hexdigest()
    assert back.origin.sha256 == digest
    stored = pyarrow.parquet.read_schema(path).metadata[b"fastwalk"]
    assert json.loads(stored)["version"] == fastwalk.__version__


def test_tables_and_back(case: Path, tmp_path: Path) -> None:
    image = fastwalk.open(case / "tables.elf", layout=case / "layout.json")
    tables = image.kernel().tables()
    assert address(polars.DataFrame(tables)["pa"].to_numpy(allow_copy=False)) == address(tables.pa)
    tables.to_parquet(tmp_path / "tables.parquet", decoded=True)
    back = fastwalk.read(tmp_path / "tables.parquet")
    assert isinstance(back, Tables)
    assert (back.references == tables.references).all()
    assert back.origin is not None
    assert back.origin.sha256 == image.sha256()
    assert back.origin.layout == image.layout


def test_files_that_are_no_results(tmp_path: Path) -> None:
    polars.DataFrame({"a": [1]}).write_parquet(tmp_path / "other.parquet")
    (tmp_path / "text").write_text("hello, this is no Arrow stream")
    for name, says in (
        ("other.parquet", "no mappings"),
        ("text", "text"),
        ("missing", "No such file"),
    ):
        with pytest.raises(FastwalkError, match=says) as caught:
            fastwalk.read(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_the_command_writes_files(case: Path, maps: Mappings, tmp_path: Path, format: str) -> None:
    out = tmp_path / "out"
    arguments = [str(case / "tables.elf"), "--layout", str(case / "layout.json")]
    status = run(["walk", *arguments, "--format", format, "--decoded", "-o", str(out)])
    assert status == 0
    back = fastwalk.read(out)
    assert isinstance(back, Mappings)
    assert (back.start == maps.start).all()


def test_a_wrong_column_is_named() -> None:
    frame = Frame({"name": np.zeros(2, np.uint8)}, {"name": ()})
    with pytest.raises(ValueError, match="name"):
        pyarrow.table(frame)
    with pytest.raises(ValueError, match="f4"):
        pyarrow.table(Frame({"f": np.zeros(2, np.float32)}))


@pytest.mark.parametrize("format", ["parquet", "arrow"])
def test_no_file_is_made_without_the_library_to_write_it(
    case: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    maps: Mappings,
    format: str,
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    target = tmp_path / "rows"
    given = [str(case / "tables.elf"), "--layout", str(case / "layout.json")]
    assert run(["walk", *given, "--format", format, "-o", str(target)]) == 2
    message = f"fastwalk: --format {format} needs pyarrow; pip install pyarrow, or fastwalk[frames]"
    assert capsys.readouterr().err == message + "\n"
    write = maps.to_parquet if format == "parquet" else maps.to_ipc
    with pytest.raises(FastwalkError, match="needs pyarrow"):
        write(target)
    assert not target.exists()
