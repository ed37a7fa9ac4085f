"""How time and memory grow with the bytes of tables, with threads, and with the number of
roots that share tables: tables in README.md, a plot a figure in plots/.

    make bench-scaling                              # 128 MiB to 4 GiB of tables
    python benches/scaling.py --largest 512         # GiB of virtual memory, 1 GiB of tables
    python benches/scaling.py --draw                # only tables and plots, of the last run
    python benches/scaling.py --names frag roots    # some of it

Large images are made, measured and taken away again, unless `--keep` is said.

Each case runs in a process of its own. Memory is the process's peak (VmHWM, reset before
the walk) less what was resident before, when all tables of the mapped image already were:
what the walk itself needs, output included. Results are kept in scaling.json.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent)]

import images  # noqa: E402
import plots  # noqa: E402
import readme  # noqa: E402
from limits import limits  # noqa: E402
from measure import Walked, check, in_turn, warm  # noqa: E402

import fastwalk as fw  # noqa: E402

RESULTS = Path(__file__).parent / "scaling.json"
NAMES = {"direct4k": "uniform", "frag": "fragmented", "sparse": "sparse"}
SIZES = [64, 128, 256, 512, 1024, 2048]
"""GiB of virtual memory; a 512th of it is tables."""
STAYS = 128
"""GiB of virtual memory of the largest images that are left for the next run."""
ROOTS = [1, 10, 50, 100, 250, 500]
WIDTHS = [8, 8, 8, 8, 1, 1, 1]
"""Bytes of the columns of a walk."""
ALLOWED = (0.06, 32 << 20)
"""Memory beyond output and image: part of the tables' bytes, and bytes."""

Found = dict[str, Any]


def status(name: str) -> int:
    """Bytes that /proc says of this process: VmRSS, VmHWM, RssFile."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) << 10


def peak(run: Any) -> int:
    """Bytes that the process grows by at most while ``run`` runs. What was freed before
    goes back to the kernel first."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before, mapped = status("VmRSS"), status("RssFile")
    result = run()
    most = status("VmHWM") - before
    grown = status("RssFile") - mapped
    del result
    if grown > 1 << 20:
        raise RuntimeError(f"{grown} bytes of the image were mapped only now")
    return most


def memory(name: str, gib: int, threads: int) -> Found:
    """Peak of one image's walk. In a process that does nothing else: memory that an
    earlier walk had would be used again unseen."""
    made = images.get(name, gib)
    warm(made.path, made.addresses())
    space = fw.open(made.path).space(images.MODE, root=made.roots[0])
    # Every table is mapped, and the threads are there.
    space.count(made.start, made.end, threads=threads)
    walk = partial(space.walk, made.start, made.end, threads=threads, budget=1 << 40)
    return {f"peak {threads}": peak(walk)}


def by_size(name: str, gib: int) -> Found:
    """Times of one image, with one and two threads."""
    made = images.get(name, gib)
    rows = made.answer["rows"]
    found: Found = {"bytes": made.table_bytes, "output": rows * sum(WIDTHS), "rows": rows}
    walked = Walked(made)
    check(walked.walk(), made)
    times = in_turn(
        {
            "walk 1": lambda: walked.walk(threads=1),
            "walk 2": lambda: walked.walk(threads=2),
            "read 1": lambda: walked.read(threads=1),
            "read 2": lambda: walked.read(threads=2),
            "write 1": lambda: limits.write_columns(rows, WIDTHS, True, 1),
            "write 2": lambda: limits.write_columns(rows, WIDTHS, True, 2),
        },
        rounds=9 if gib <= 128 else 3,
    )
    return found | {who: times.median(who) for who in times.seconds}


def by_roots(roots: int) -> Found:
    """Processes that share the kernel half, in one walk."""
    made = images.get("fleet", 64, processes=roots)
    rows = made.answer["rows"]
    walked = Walked(made)
    walked.check_roots()
    most = peak(walked.walk_roots)
    times = in_turn(
        {
            "walk": lambda: walked.walk_roots() and None,
            "read": walked.read,
            "write": lambda: limits.write_columns(rows, WIDTHS, True, 1),
        },
        rounds=9,
    )
    found = {"bytes": made.table_bytes, "rows": rows, "output": rows * sum(WIDTHS), "peak": most}
    return found | {who: times.median(who) for who in times.seconds}


def in_a_process(*arguments: str) -> Found:
    """One case."""
    command = [sys.executable, __file__, "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    found: Found = json.loads(done.stdout)
    return found


# ---- Tables ---------------------------------------------------------------------------


def mib(count: float) -> str:
    """Bytes as MiB, or GiB from 1 GiB on."""
    return f"{count / (1 << 30):.3g} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.3g} MiB"


def ms(seconds: float) -> str:
    """Three digits."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def allowed(case: Found) -> float:
    """Bytes beyond output and image that a walk may need."""
    return ALLOWED[0] * float(case["bytes"]) + ALLOWED[1]


def size_table(results: list[Found]) -> str:
    """A row an image."""
    lines = [
        "| image | tables | rows | one thread | of limit | two threads | of limit | two against"
        " one, limit's | peak beyond output, one thread / two | allowed |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in results:
        limit = {n: case[f"read {n}"] + case[f"write {n}"] for n in (1, 2)}
        beyond = [mib(max(case[f"peak {n}"] - case["output"], 0)) for n in (1, 2)]
        lines.append(
            f"| {NAMES[case['name']]} | {mib(case['bytes'])} | {case['rows']:,} "
            f"| {ms(case['walk 1'])} | {limit[1] / case['walk 1']:.2f} "
            f"| {ms(case['walk 2'])} | {limit[2] / case['walk 2']:.2f} "
            f"| {case['walk 1'] / case['walk 2']:.2f} x, {limit[1] / limit[2]:.2f} x "
            f"| {beyond[0]} / {beyond[1]} | {mib(allowed(case))} |"
        )
    return "\n".join(lines)


def root_table(results: list[Found]) -> str:
    """A row a number of roots."""
    lines = [
        "| roots | unique tables | rows | time | of limit | peak beyond output | allowed |",
        "|---|---|---|---|---|---|---|",
    ]
    for case in results:
        limit = case["read"] + case["write"]
        lines.append(
            f"| {case['roots']} | {mib(case['bytes'])} | {case['rows']:,} | {ms(case['walk'])} "
            f"| {limit / case['walk']:.2f} | {mib(max(case['peak'] - case['output'], 0))} "
            f"| {mib(allowed(case))} |"
        )
    return "\n".join(lines)


def write(results: dict[str, list[Found]]) -> None:
    """Tables and plots."""
    text = [
        size_table(results["sizes"]),
        "",
        "![Time by bytes of tables](plots/scaling-time.svg)",
        "![Two threads against one](plots/scaling-threads.svg)",
        "![Memory by bytes of tables](plots/scaling-memory.svg)",
        "",
        root_table(results["roots"]),
        "",
        "![Time by roots](plots/scaling-roots.svg)",
    ]
    readme.put("scaling", "\n".join(text))
    plots.draw(results, NAMES, allowed)


def main() -> None:
    """All cases, or what the options say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="GiB of virtual memory")
    parser.add_argument("--names", nargs="*", default=[*NAMES, "roots"])
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--keep", action="store_true", help="leave the large images")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, number = options.one[0], int(options.one[1])
        if len(options.one) == 3:
            found = memory(name, number, int(options.one[2]))
        else:
            found = by_roots(number) if name == "roots" else by_size(name, number)
        print(json.dumps(found))
        return
    results: dict[str, list[Found]] = {"sizes": [], "roots": []}
    if RESULTS.exists():
        results = json.loads(RESULTS.read_text())
    sizes = [gib for gib in SIZES if gib <= options.largest]
    for name in options.names if not options.draw else []:
        kind, cases = ("roots", ROOTS) if name == "roots" else ("sizes", sizes)
        if kind == "sizes":
            results[kind] = [case for case in results[kind] if case["name"] != name]
        else:
            results[kind] = []
        for number in cases:
            found = in_a_process(name, str(number))
            for threads in ("1", "2") if kind == "sizes" else ():
                found |= in_a_process(name, str(number), threads)
            results[kind].append({"name": name, "gib" if kind == "sizes" else kind: number} | found)
            print(results[kind][-1], flush=True)
            results["sizes"].sort(key=lambda case: (list(NAMES).index(case["name"]), case["bytes"]))
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
            if kind == "sizes" and number > STAYS and not options.keep:
                for path in images.FOLDER.glob(f"{name}-{number}.*"):
                    path.unlink()
    write(results)


if __name__ == "__main__":
    main()
