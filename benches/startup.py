"""How long it takes until something happens: `import fastwalk`, and every command, by whole
process and by what is imported (-X importtime), from bytecode, as installed modules are.

    make bench-startup
    python benches/startup.py --write       # puts the table into README.md

A command is started twice: for its help, which is its start and no more, and on the page
tables of a recorded kernel. Fails where a command imports something heavy that it is not
known to need.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import readme

from fastwalk.cli import COMMANDS

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "x86_64-6.12-4level.tar.xz"
ROUNDS = 7
LAYOUT = ["tables.elf", "--layout", "layout.json"]
ARGUMENTS = {
    "info": ["tables.elf"],
    "ptdump": LAYOUT,
    "spaces": LAYOUT,
    "walk": LAYOUT,
    "translate": [*LAYOUT, "0xffffffff81000000"],
    "audit": LAYOUT,
    "stats": LAYOUT,
    "aliases": [*LAYOUT, "0x1000000"],
    "diff": ["tables.elf", *LAYOUT],
    "bulk": ["tables.elf"],
    "report": [*LAYOUT, "-o", "report.html"],
}
"""What a command is told of the recorded kernel."""
HEAVY = ["numpy", "pandas", "polars", "pyarrow", "matplotlib", "dask", "multiprocessing"]
COLUMNS = {"walk", "audit", "stats", "aliases", "diff", "bulk", "report"}
"""Commands that need NumPy: columns are its arrays."""
MAIN = "import sys; from fastwalk.cli import main; main(sys.argv[1:])"


def started(code: str, arguments: list[str], folder: str, *options: str) -> tuple[float, str]:
    """Seconds of a whole process, and what it wrote to standard error."""
    command = [sys.executable, *options, "-c", code, *arguments]
    bytecode = {"PYTHONPYCACHEPREFIX": f"{folder}/bytecode", "PYTHONDONTWRITEBYTECODE": ""}
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=os.environ | bytecode, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode > 1:  # 1: findings
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1]}")
    return seconds, done.stderr


def imported(code: str, arguments: list[str], folder: str) -> tuple[float, set[str]]:
    """Seconds spent on imports, and the modules."""
    line = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)")
    told = started(code, arguments, folder, "-X", "importtime")[1]
    found = [(int(match[1]), match[2]) for match in map(line.match, told.splitlines()) if match]
    return sum(spent for spent, _ in found) / 1e6, {name for _, name in found}


def ms(seconds: float) -> str:
    """Whole milliseconds."""
    return f"{seconds * 1e3:.0f} ms"


def main() -> int:
    """The table; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    runs: dict[str, tuple[str, list[str]]] = {
        "python": ("pass", []),
        "import": ("import fastwalk", []),
        "--help": (MAIN, ["--help"]),
    }
    for name in COMMANDS:
        runs[f"{name} --help"] = (MAIN, [name, "--help"])
        runs[name] = (MAIN, [name, *ARGUMENTS[name]])
    lines = [
        "| | start (`--help`) | its imports | on a recorded kernel | its imports | heavy ones |",
        "|---|---|---|---|---|---|",
    ]
    unknown = []
    with tempfile.TemporaryDirectory() as folder, tarfile.open(GOLDEN) as case:
        case.extractall(folder, filter="data")
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(ROUNDS + 1):
            for name, (code, arguments) in runs.items():
                spent = started(code, arguments, folder)[0]
                if number:
                    seconds[name].append(spent)
        median = {name: ms(statistics.median(each)) for name, each in seconds.items()}
        for name in ("python", "import", "--help", *COMMANDS):
            first = f"{name} --help" if name in COMMANDS else name
            code, arguments = runs[name]
            start = min(imported(*runs[first], folder)[0] for _ in range(5))
            spent, modules = min(
                (imported(code, arguments, folder) for _ in range(5)), key=lambda pair: pair[0]
            )
            heavy = [module for module in HEAVY if module in modules]
            known = ["numpy"] if name in COLUMNS else []
            unknown += [f"{name}: {module}" for module in heavy if module not in known]
            whole = (median[name], ms(spent)) if name in COMMANDS else ("", "")
            title = {"python": "`python -c pass`", "import": "`import fastwalk`"}.get(
                name, f"`fastwalk {name}`"
            )
            cells = [title, median[first], ms(start), *whole, ", ".join(heavy)]
            lines.append("| " + " | ".join(cells) + " |")
    text = "\n".join(lines)
    print(text)
    if options.write:
        readme.put("startup", text)
    for each in unknown:
        print(f"imported and not known to be needed: {each}", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
