"""Puts the figures of the last `make bench` into README.md, beside what is to be reached.

python benches/figures.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import readme
from aims import AIMS, READING

TOLD = Path(__file__).parent / "images" / "told.json"
IMAGES = ("uniform", "frag", "sparse", "huge")

Told = dict[str, dict[str, Any]]


def digits(ratio: float) -> str:
    """Two digits, or a whole number."""
    return f"{ratio:,.0f}" if ratio >= 15 else f"{ratio:.1f}" if ratio >= 2 else f"{ratio:.2f}"


def aims(told: Told) -> list[str]:
    """A row for all that is to be reached; what was not measured is named."""
    lines = ["| what | ratio | | to reach |", "|---|---|---|---|"]
    for name, (title, aim) in AIMS.items():
        if name not in told:
            lines.append(f"| {title} | not measured | | {digits(aim)} |")
            continue
        ratio, what = told[name]["ratio"], told[name]["what"]
        verdict = "reached" if ratio >= aim else "not reached"
        lines.append(f"| {title} | {digits(ratio)} | {what} | {digits(aim)}: {verdict} |")
    return lines


def scans(told: Told) -> list[str]:
    """The scan by instruction set and threads."""
    names = list(dict.fromkeys(key.split(maxsplit=2)[2] for key in told if is_scan(key)))
    lines = ["| scan of | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for image in IMAGES:
        cells = (told.get(f"scan {image} {name}", {}).get("ratio", "") for name in names)
        shown = (digits(cell) if cell else "" for cell in cells)
        lines.append(f"| {image} | " + " | ".join(shown) + " |")
    return lines


def is_scan(name: str) -> bool:
    """Whether it is of an image of the usual size."""
    words = name.split()
    return words[0] == "scan" and len(words) == 4 and words[1] in IMAGES


def main() -> None:
    """Writes the tables."""
    told: Told = json.loads(TOLD.read_text())
    text = [*aims(told), "", f"Scans {READING}, by instruction set and threads:", ""]
    readme.put("figures", "\n".join([*text, *scans(told)]))
    readme.put("machine", readme.machine())


if __name__ == "__main__":
    main()
