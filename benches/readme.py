"""README.md's tables, which are written by the programs that measure them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

README = Path(__file__).parent / "README.md"


def put(section: str, text: str, path: Path = README) -> None:
    """Replaces what lies between the marks of a section. KeyError where there are none."""
    first, last = f"<!-- {section} -->\n", f"<!-- end of {section} -->"
    between = re.compile(re.escape(first) + ".*?" + re.escape(last), re.DOTALL)
    before = path.read_text()
    if not between.search(before):
        raise KeyError(f"{path} has no section {section}")
    path.write_text(between.sub(lambda _: f"{first}{text.strip()}\n{last}", before))


def machine() -> str:
    """What the figures were measured on."""
    import numpy

    from fastwalk import _fastwalk

    def field(path: str, name: str) -> str:
        lines = Path(path).read_text().splitlines()
        return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), "")

    command = ["git", "-C", str(README.parent), "log", "-1", "--format=%h", "--", "../rust"]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    commit = told.stdout.strip() or "no commit"
    memory = int(field("/proc/meminfo", "MemTotal").split()[0]) / (1 << 20)
    return (
        f"The figures below: {field('/proc/cpuinfo', 'model name')} (family "
        f"{field('/proc/cpuinfo', 'cpu family')}, model "
        f"{re.sub('[^0-9].*', '', field('/proc/cpuinfo', 'model	'))}), "
        f"{len(os.sched_getaffinity(0))} processors, {memory:.0f} GiB, scans with "
        f"{_fastwalk.isas()[-1]}; Linux {platform.release().split('-')[0]}, Python "
        f"{platform.python_version()}, NumPy {numpy.__version__}, "
        f"fastwalk {_fastwalk.__version__} at {commit}, one thread where nothing else is said."
    )
