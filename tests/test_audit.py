"""Audits: what kernels counted themselves, and every rule on tables made for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import golden_cases
import numpy as np
import pytest

import fastwalk
from fastwalk import arch
from fastwalk.analysis.audit import audit, present, writable_executable
from fastwalk.analysis.findings import Findings
from fastwalk.analysis.rules import BY_ID, RULES
from fastwalk.cli import run
from fastwalk.errors import FastwalkError
from fastwalk.layout import Kasan, Layout, Marker, Root, View

MODE = "x86_64-4level"
RW, US, PS, NX = 2, 4, 0x80, 1 << 63
KERNEL = 0xFFFF_8000_0000_0000
KERNEL39 = 0xFFFF_FF80_0000_0000
IMAGE = 0xFFFF_FFFF_8000_0000


def counted(case: golden_cases.Case) -> int:
    """What the kernel counted when it booted."""
    found = re.findall(r"FAILED, (\d+) W\+X", case.files["boot-wx-check.txt"].decode())
    return int(found[-1]) if found else 0


def printed(case: golden_cases.Case, view: str) -> int:
    """Pages in the lines of the kernel's own text that are writable and executable: what
    its check would have counted when the memory was dumped."""
    pages = 0
    for line in case.text(view).splitlines():
        found = re.match(r"0x([0-9a-f]+)-0x([0-9a-f]+) +(?:0x[0-9a-f]+ +)?\d+[BKMGTPE ] (.*)", line)
        if found is None:
            continue
        start, end, flags = int(found[1], 16), int(found[2], 16), found[3].split()
        if case.layout.arch.startswith("ppc"):
            end += 1
            both = {"w", "X"} <= set(flags)
        elif case.layout.arch.startswith("riscv"):
            both = {"W", "X"} <= set(flags)
        elif case.layout.arch == "s390x":
            both = {"RW", "X"} <= set(flags) and end != case.layout.page_size
        else:
            both = {"RW", "x"} <= set(flags)
        if both:
            pages += (end - start) // case.layout.page_size
    return pages


def kernel_views(case: golden_cases.Case) -> list[str]:
    roots = case.layout.roots
    return [name for name, view in case.layout.views.items() if roots[view.root].role == "kernel"]


@pytest.mark.parametrize("name", golden_cases.names())
def test_counts_what_the_kernel_counts(name: str) -> None:
    """Where nothing was mapped W+X after the boot check, audit's count is the check's; the
    other kernels' own text, taken with the dump, has the pages that came later."""
    case = golden_cases.Case(name)
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    assert kernel_views(case)
    for view in kernel_views(case):
        space = image.space(view=view)
        findings = audit(space.walk_physical(), space.tables())
        _, pages = writable_executable(space.walk(), case.layout)
        assert findings.wx_pages == pages
        if name == "i386-6.12-2level":
            assert pages == 0
            assert dict(findings.skipped)["wx"] == "i386-2level cannot forbid execution"
            continue
        if case.layout.arch in ("x86_64", "i386", "s390x"):
            assert pages == counted(case)
        else:
            assert pages == printed(case, view)


@pytest.mark.parametrize("name", golden_cases.names())
def test_real_kernels_have_nothing_malformed(name: str) -> None:
    case = golden_cases.Case(name)
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    for view in case.layout.views:
        space = image.space(view=view)
        found = audit(space.walk_physical(), space.tables()).counts()
        bad = {"user-kernel", "text-writable", "group", "reserved", "table-user"}
        bad |= {"shadow-executable", "shadow-zero"}
        assert not bad & set(found), found


def test_pti_user_half_is_checked_too() -> None:
    case = golden_cases.Case("x86_64-6.12-kaslr-pti")
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    for root in ("current_user", "init_top_pgt_user"):
        space = image.space(root=root)
        assert audit(space.walk_physical()).wx_pages == 0


class Machine:
    """Four-level x86 tables written by hand, and a layout for them."""

    def __init__(self) -> None:
        self.tables: dict[int, np.ndarray] = {0x1000: np.zeros(512, np.uint64)}
        self.next = 0x2000

    def map(self, va: int, pa: int, flags: int, table_flags: int = RW | US) -> None:
        table = 0x1000
        for shift in (39, 30, 21):
            index = va >> shift & 511
            entry = int(self.tables[table][index])
            if not entry:
                entry = self.next | 1 | table_flags
                self.tables[self.next] = np.zeros(512, np.uint64)
                self.tables[table][index] = entry
                self.next += 0x1000
            table = entry & 0xF_FFFF_F000
        self.tables[table][va >> 12 & 511] = pa | flags | 1

    def findings(
        self,
        memory: list[tuple[int, int]] | None = None,
        regions: dict[str, tuple[int, int]] | None = None,
        kasan: Kasan | None = None,
        role: str = "kernel",
    ) -> Findings:
        data = bytearray(self.next)
        for pa, table in self.tables.items():
            data[pa : pa + 4096] = table.tobytes()
        markers = (
            Marker(0, "User Space"),
            Marker(KERNEL, "Low Kernel Mapping"),
            Marker(IMAGE, "High Kernel Mapping"),
        )
        layout = Layout(
            arch="x86_64",
            mode=MODE,
            kernel="6.12",
            page_size=4096,
            roots={"root": Root(0x1000, role)},  # type: ignore[arg-type]
            views={"kernel": View("root", ((0, (1 << 64) - 1),), markers)},
            default_view="kernel",
            kasan=kasan,
        )
        image = fastwalk.open(bytes(data), format="raw", layout=layout)
        space = image.kernel()
        return audit(space.walk_physical(), space.tables(), memory=memory, regions=regions)


def only(findings: Findings, rule: str) -> list[tuple[int, int, int]]:
    return [(f.start, f.size, f.pa) for f in findings if f.rule.id == rule]


def test_wx_neighbours_are_one_finding() -> None:
    machine = Machine()
    machine.map(KERNEL, 0x90000, RW)
    machine.map(KERNEL + 0x1000, 0x50000, RW)
    machine.map(KERNEL + 0x3000, 0x51000, RW | NX)
    found = machine.findings()
    assert only(found, "wx") == [(KERNEL, 0x2000, 0x90000)]
    assert found.wx_pages == 2


def test_effective_permissions_count() -> None:
    machine = Machine()
    machine.map(KERNEL, 0x90000, RW, table_flags=0)
    assert machine.findings().wx_pages == 0


def test_user_accessible_kernel_memory() -> None:
    machine = Machine()
    machine.map(KERNEL, 0x90000, US | NX)
    machine.map(0x1000, 0x91000, US | NX)
    machine.map(0xFFFF_FFFF_FF60_0000, 0x92000, US | NX)
    assert only(machine.findings(), "user-kernel") == [(KERNEL, 0x1000, 0x90000)]


def test_user_wx_is_the_programs_own() -> None:
    machine = Machine()
    machine.map(0x1000, 0x91000, RW | US)
    found = machine.findings(role="process")
    assert found.counts() == {"user-wx": 1}
    assert machine.findings().counts() == {"wx": 1}


def test_writable_text_and_rodata() -> None:
    machine = Machine()
    for page, flags in enumerate((0, RW | NX, 0, NX, RW | NX)):
        machine.map(IMAGE + page * 0x1000, 0x90000 + page * 0x1000, flags)
    by_shape = machine.findings()
    assert only(by_shape, "text-writable") == [(IMAGE + 0x1000, 0x1000, 0x91000)]
    assert "rodata-writable" in dict(by_shape.skipped)
    regions = {"text": (IMAGE + 0x2000, IMAGE + 0x2FFF), "rodata": (IMAGE + 0x4000, IMAGE + 0x4FFF)}
    by_symbols = machine.findings(regions=regions)
    assert only(by_symbols, "text-writable") == []
    assert only(by_symbols, "rodata-writable") == [(IMAGE + 0x4000, 0x1000, 0x94000)]


def test_aliases_name_the_writable_address() -> None:
    machine = Machine()
    for page in range(4):
        machine.map(KERNEL + page * 0x1000, 0x90000 + page * 0x1000, RW | NX)
    machine.map(IMAGE, 0x92000, 0)
    machine.map(IMAGE + 0x1000, 0x99000, 0)
    found = machine.findings()
    (finding,) = found.of_rule("alias-wx")
    assert (finding.start, finding.size, finding.pa) == (IMAGE, 0x1000, 0x92000)
    assert f"{KERNEL + 0x2000:#x}" in finding.detail
    assert finding.place == "High Kernel Mapping+0x0"


def test_writable_page_tables() -> None:
    machine = Machine()
    machine.map(KERNEL, 0x1000, RW | NX)
    machine.map(KERNEL + 0x5000, 0x2000, NX)
    machine.map(0x7000, 0x1000, RW | US | NX)
    found = machine.findings()
    assert only(found, "table-writable") == [(KERNEL, 0x1000, 0x1000)]
    assert only(found, "table-user") == [(0x7000, 0x1000, 0x1000)]


def test_memory_that_is_not_there() -> None:
    machine = Machine()
    machine.map(KERNEL, 0x90000, RW | NX)
    machine.map(KERNEL + 0x1000, 0xFEC0_0000, RW | NX | 0x18)  # UC
    machine.map(KERNEL + 0x3000, 0xFED0_0000, RW | NX)
    machine.tables[0x1000][300] = 0x7777_7000 | RW | 1
    found = machine.findings(memory=[(0, 0x100000)])
    assert only(found, "outside-ram") == [(KERNEL + 0x3000, 0x1000, 0xFED0_0000)]
    (table,) = found.of_rule("table-outside")
    assert (table.start, table.pa) == (KERNEL + (44 << 39), 0x7777_7000)
    assert "outside-ram" in dict(machine.findings().skipped)


def test_reserved_bits_and_not_present_entries() -> None:
    machine = Machine()
    machine.map(KERNEL, 0x90000, RW | NX)
    machine.tables[0x1000][257] = 0x5000 | PS | 1  # PS is reserved in a PGD
    machine.tables[0x1000][258] = 0x5000 | PS  # swap: whatever it says
    assert only(machine.findings(), "reserved") == [(KERNEL + (1 << 39), 1 << 39, 0)]


@pytest.mark.parametrize(
    ("mode", "attributes", "expected"),
    [
        ("x86_64-4level", 0, False),
        ("arm64-4k-48", 0, False),
        ("arm64-4k-48", 1, True),
        ("riscv64-sv39", 1 | 4, True),
        ("riscv64-sv39", 4, False),
        ("s390x-region3", 0x400, False),
        ("ppc64-radix-4k", 0, False),
    ],
)
def test_present_entries(mode: str, attributes: int, expected: bool) -> None:
    spec = arch.spec_of(mode)
    assert present(spec, np.array([attributes], np.uint64)).tolist() == [expected]


def arm64(entries: dict[int, int], napot: bool = False) -> Findings:
    """One page table of arm64 (or of riscv) with these entries."""
    mode, depths = ("riscv64-sv39", 3) if napot else ("arm64-4k-39", 3)
    data = np.zeros(512 * depths, np.uint64)
    table = 1 if napot else 3
    for depth in range(depths - 1):
        pa = (depth + 1) << 12
        data[512 * depth] = (pa >> 2 if napot else pa) | table
    for index, entry in entries.items():
        data[512 * (depths - 1) + index] = entry
    image = fastwalk.open(data.tobytes(), format="raw")
    return audit(image.space(mode, root=0).walk_physical())


def test_contiguous_groups() -> None:
    page = 0x400 | 3 | 1 << 54 | 1 << 53 | 1 << 52  # AF, page, UXN, PXN, CONT
    whole = {i: page | (0x100000 + (i << 12)) for i in range(16, 48)}
    assert arm64(whole).counts() == {}
    torn = {**whole, 20: whole[20] | 0x80}  # one is read-only
    assert only(arm64(torn), "group") == [(KERNEL39 + 0x10000, 0x20000, 0x110000)]
    short = {i: whole[i] for i in range(16, 40)}
    assert arm64(short).counts() == {"group": 1}
    shifted = {i: entry + 0x1000 for i, entry in whole.items()}
    assert arm64(shifted).counts() == {"group": 1}


def test_napot_groups() -> None:
    page = 1 << 63 | (0x100 | 8) << 10 | 0x7 | 0xC0  # N, R W V, A D
    whole = dict.fromkeys(range(16, 32), page & ~4)
    assert arm64(whole, napot=True).counts() == {}
    torn = {i: entry for i, entry in whole.items() if i != 20}
    assert arm64(torn, napot=True).counts() == {"group": 2}


def test_shadow() -> None:
    start = 0xFFFF_EC00_0000_0000
    kasan = Kasan(start=start, end=start + (1 << 44), early_shadow={"page": 0x80000})
    machine = Machine()
    # Eight pages of memory have one page of shadow.
    machine.map(KERNEL, 0x90000, RW | NX)
    machine.map(start, 0x81000, RW | NX)
    machine.map(KERNEL + 0x10_0000, 0x91000, RW | NX)
    machine.map(start + 0x8000, 0x80000, RW | NX)
    machine.map(start + 0x9000, 0x82000, 0)
    found = machine.findings(kasan=kasan)
    assert only(found, "shadow-zero") == [(start + 0x8000, 0x1000, 0x80000)]
    assert only(found, "shadow-executable") == [(start + 0x9000, 0x1000, 0x82000)]
    assert only(found, "shadow-missing") == [(KERNEL + 0x10_0000, 0x1000, 0x91000)]


@pytest.fixture
def wx(tmp_path: Path) -> list[str]:
    golden_cases.Case("x86_64-6.12-wx").extract(tmp_path)
    return ["audit", str(tmp_path / "tables.elf"), "--layout", str(tmp_path / "layout.json")]


def test_text_ends_with_the_kernels_line(wx: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(wx) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "Checked W+X mappings: FAILED, 6 W+X pages found."
    assert lines[0].startswith("error: writable and executable")
    assert any("vmalloc() Area+0x5000" in line for line in lines)
    assert any("PGD 0x" in line for line in lines)


def test_fail_on(wx: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*wx, "--fail-on", "never"]) == 0
    assert run([*wx, "--fail-on", "error"]) == 1
    assert run([*wx, "--fail-on", "group,reserved"]) == 0
    assert run([*wx, "--fail-on", "table-writable"]) == 1
    assert run([*wx, "--fail-on", "everything"]) == 2
    assert "no rule or severity 'everything'" in capsys.readouterr().err


def test_a_baseline_accepts_what_is_known(
    wx: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    baseline = tmp_path / "known.json"
    assert run([*wx, "--write-baseline", str(baseline)]) == 0
    assert run([*wx, "--baseline", str(baseline), "--fail-on", "note"]) == 0
    assert "accepted by the baseline" in capsys.readouterr().out
    known = json.loads(baseline.read_text())
    known["accepted"] = [line for line in known["accepted"] if not line.startswith("wx:")]
    baseline.write_text(json.dumps(known))
    assert run([*wx, "--baseline", str(baseline)]) == 1
    baseline.write_text("{}")
    assert run([*wx, "--baseline", str(baseline)]) == 2
    assert "is no baseline" in capsys.readouterr().err


def test_a_baseline_fits_wherever_the_kernel_is(tmp_path: Path) -> None:
    """KASLR moves the image within its section."""
    found = []
    for slide in (0, 0x120_0000):
        machine = Machine()
        for page, flags in enumerate((0, RW | NX, 0, RW)):
            machine.map(IMAGE + slide + page * 0x1000, 0x90000 + page * 0x1000, flags)
        found.append(machine.findings())
    one, other = found
    assert one.counts() == other.counts() == {"wx": 1, "text-writable": 2}
    one.write_baseline(tmp_path / "known")
    assert len(other.without(tmp_path / "known")) == 0
    assert [finding.place for finding in one] != [finding.place for finding in other]


def test_a_baseline_is_told_that_wx_pages_are_still_there(tmp_path: Path) -> None:
    machine = Machine()
    machine.map(KERNEL, 0x90000, RW)
    found = machine.findings()
    found.write_baseline(tmp_path / "known")
    left = found.without(tmp_path / "known")
    assert (len(left), left.accepted, left.wx_pages) == (0, 1, 1)
    with pytest.raises(FastwalkError, match="give a file"):
        found.write_baseline(tmp_path)


def test_sarif(wx: list[str], tmp_path: Path) -> None:
    """What the schema of SARIF 2.1.0 requires of what is written here."""
    out = tmp_path / "audit.sarif"
    assert run([*wx, "--format", "sarif", "-o", str(out)]) == 1
    log = json.loads(out.read_text())
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-2.1.0.json")
    (one,) = log["runs"]
    driver = one["tool"]["driver"]
    assert driver["name"] == "fastwalk"
    ids = [rule["id"] for rule in driver["rules"]]
    assert ids == [rule.id for rule in RULES]
    assert len(set(ids)) == len(ids)
    levels = {"none", "note", "warning", "error"}
    for rule in driver["rules"]:
        assert rule["defaultConfiguration"]["level"] in levels
        assert rule["shortDescription"]["text"]
    assert {result["ruleId"] for result in one["results"]} >= {"wx", "table-writable"}
    for result in one["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in levels
        assert result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        index = physical["artifactLocation"]["index"]
        assert physical["artifactLocation"]["uri"] == one["artifacts"][index]["location"]["uri"]
        address = physical["address"].get("absoluteAddress", 0)
        assert -(1 << 63) <= address < 1 << 63
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
    assert len({r["partialFingerprints"]["fastwalk/v1"] for r in one["results"]}) == len(
        one["results"]
    )


def test_json_and_csv(wx: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*wx, "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["wx_pages"] == 6
    first = document["findings"][0]
    assert (first["rule"], first["severity"]) == ("wx", "error")
    assert first["path"].startswith("PGD ")
    assert first["why"] == BY_ID["wx"].why
    assert run([*wx, "--format", "csv"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(document["findings"])


def test_findings_as_a_frame() -> None:
    machine = Machine()
    machine.map(KERNEL, 0x90000, RW)
    table = machine.findings().to_arrow(decoded=True).to_pylist()
    assert table[0]["rule"] == "wx"
    assert table[0]["severity"] == "error"
    assert table[0]["section"] == "Low Kernel Mapping"
    assert table[0]["space"] == "root"


def test_all_spaces_count_once(wx: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel's half is in every root; its pages are counted as its check counts them."""
    assert run([*wx, "--all-spaces", "--format", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["wx_pages"] == 6
    found = [finding for finding in document["findings"] if finding["rule"] == "wx"]
    assert {finding["space"] for finding in found} == {"init_top_pgt"}
    assert {finding["more_spaces"] for finding in found} == {1}
    assert len({finding["path"] for finding in found}) == len(found)
    assert {finding["space"] for finding in document["findings"]} == {"init_top_pgt", "current"}
    assert run([*wx, "--all-spaces"]) == 1
    text = capsys.readouterr().out
    assert "      init_top_pgt and 1 more: PGD " in text
    assert text.splitlines()[-1] == "Checked W+X mappings: FAILED, 6 W+X pages found."


@pytest.mark.parametrize("name", ["s390x-6.12", "s390x-6.12-kasan"])
def test_a_program_in_a_space_of_its_own(name: str) -> None:
    """On s390x a process's addresses are not the kernel's, and what is executable there is no
    code of the kernel's."""
    case = golden_cases.Case(name)
    image = fastwalk.open(case.files["tables.elf"], layout=case.layout)
    found = audit(image.spaces().walk_physical(), image.spaces().tables())
    assert found.wx_pages == counted(case)
    own = [finding for finding in found if finding.space == "current_user"]
    assert own
    assert {finding.rule.id for finding in own} <= {"user-wx", "table-user"}
    for finding in own:
        assert finding.place == f"{finding.start:#x}"


def test_aliases_name_the_space_of_the_writable_one() -> None:
    """Two roots: code in one of them can be written through the other."""
    machine = Machine()
    machine.map(IMAGE, 0x90000, 0)
    data = bytearray(0x10_0000)
    tables = dict(machine.tables)
    # The second root: the same address, another leaf.
    root, leaf = 0x8_0000, 0x90000 | RW | 1 | NX
    for pa, shift in ((root, 39), (root + 0x1000, 30), (root + 0x2000, 21), (root + 0x3000, 12)):
        tables[pa] = np.zeros(512, np.uint64)
        tables[pa][IMAGE >> shift & 511] = np.uint64(leaf if shift == 12 else pa + 0x1000 | RW | 1)
    for pa, table in tables.items():
        data[pa : pa + 4096] = table.tobytes()
    layout = Layout(
        arch="x86_64",
        mode=MODE,
        kernel="6.12",
        page_size=4096,
        roots={"one": Root(0x1000, "kernel"), "two": Root(root, "process")},
        views={"kernel": View("one", ((0, (1 << 64) - 1),), (Marker(KERNEL, "Kernel"),))},
        default_view="kernel",
    )
    image = fastwalk.open(bytes(data), format="raw", layout=layout)
    found = audit(image.spaces().walk_physical())
    (finding,) = found.of_rule("alias-wx")
    assert (finding.space, finding.start, finding.also) == ("one", IMAGE, 0)
    assert finding.detail == f"writable at {IMAGE:#x} in two"


def test_only_what_lies_outside_of_memory_is_found() -> None:
    machine = Machine()
    machine.map(KERNEL, 0xF_E000, RW | NX)
    machine.map(KERNEL + 0x1000, 0xF_F000, RW | NX)
    machine.map(KERNEL + 0x2000, 0x10_0000, RW | NX)
    found = machine.findings(memory=[(0, 0x10_0000)])
    assert only(found, "outside-ram") == [(KERNEL + 0x2000, 0x1000, 0x10_0000)]


def test_what_programs_may_execute_and_not_read() -> None:
    """arm64's note_prot_uxn: pages of the kernel without UXN."""
    page = 0x400 | 3 | 1 << 53  # AF, page, PXN
    found = arm64({16: page | 0x100000 | 1 << 54, 18: page | 0x102000})
    assert only(found, "user-kernel") == [(KERNEL39 + 0x12000, 0x1000, 0x102000)]


def test_groups_say_how_many_entries_they_have() -> None:
    page = 0x400 | 3 | 1 << 54 | 1 << 53 | 1 << 52
    (finding,) = arm64({16: page | 0x110000})
    assert finding.detail == "groups are of 16 entries"


def test_what_was_not_judged_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden_cases.Case("i386-6.12-2level").extract(tmp_path)
    image = [str(tmp_path / "tables.elf"), "--layout", str(tmp_path / "layout.json")]
    assert run(["audit", *image]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "W+X mappings were not checked: i386-2level cannot forbid execution."
    assert any(line.startswith("not judged: ordinary memory") for line in lines)


def test_audit_of_spaces_with_what_their_image_says(tmp_path: Path) -> None:
    """fastwalk.audit knows RAM and symbols as the command does."""
    case = golden_cases.Case("x86_64-6.12-wx").extract(tmp_path)
    image = fastwalk.open(case / "tables.elf", layout=case / "layout.json")
    kernel = fastwalk.audit(image.kernel())
    assert kernel.wx_pages == 6
    assert kernel.severities() == {"note": 18, "warning": 0, "error": 2}
    # Little more than page tables: no word on where RAM is.
    assert dict(kernel.skipped)["outside-ram"] == "where RAM is, is not known"
    assert "outside-ram" in fastwalk.audit(image.kernel(), ram="image").counts()
    every = fastwalk.audit(image.spaces())
    assert every.spaces == ("init_top_pgt", "current")
    assert "init_top_pgt and 1 more" in every._repr_html_()
    assert "init_top_pgt" not in kernel._repr_html_()


def test_the_page_lists_every_rule() -> None:
    page = (Path(__file__).parents[1] / "docs" / "analyses.md").read_text()
    for rule in RULES:
        assert f"| `{rule.id}` | {rule.severity} | {rule.title} | {rule.why} |" in page
