"""Puts the figures of the last `make bench` into README.md, beside what is to be reached.

python benches/figures.py
"""

from __future__ import annotations

import json
from pathlib import Path

import readme
from aims import AIMS

TOLD = Path(__file__).parent / "images" / "told.json"


def digits(ratio: float) -> str:
    """Two digits, or a whole number."""
    return f"{ratio:,.0f}" if ratio >= 20 else f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"


def table(told: dict[str, dict[str, str | float]]) -> str:
    """A row a ratio."""
    lines = ["| what | ratio | | to reach |", "|---|---|---|---|"]
    for name, each in told.items():
        ratio = float(each["ratio"])
        aim = AIMS.get(name)
        verdict = "" if aim is None else f"{digits(aim)}: {'' if ratio >= aim else 'not '}reached"
        lines.append(f"| {name} | {digits(ratio)} | {each['what']} | {verdict} |")
    return "\n".join(lines)


def main() -> None:
    """Writes the table."""
    readme.put("figures", table(json.loads(TOLD.read_text())))
    readme.put("machine", readme.machine())


if __name__ == "__main__":
    main()
