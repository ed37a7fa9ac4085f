"""Holds the ratios of the last `make bench` against the stored ones.

    make bench-check                     # runs all benches, then this
    python benches/check.py              # fails where a ratio fell by more than 20 %
    python benches/check.py --store      # makes those of the last run the stored ones

A ratio that is stored and was not measured is a failure, too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
ALLOWED = 0.8
"""A ratio may fall to this part of the stored one."""


def compare(stored: dict[str, float], last: dict[str, float]) -> tuple[list[str], int]:
    """What is wrong, a line each; and how many ratios are as before or better."""
    wrong = []
    for name, before in stored.items():
        now = last.get(name)
        if now is None:
            wrong.append(f"{name}: {before:.3f} before, not measured now")
        elif now < ALLOWED * before:
            wrong.append(f"{name}: {before:.3f} before, {now:.3f} now")
    return wrong, len(stored) - len(wrong)


def main() -> int:
    """Compares, or stores; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--last", type=Path, default=FOLDER / "images" / "ratios.json")
    parser.add_argument("--stored", type=Path, default=FOLDER / "ratios.json")
    parser.add_argument("--store", action="store_true", help="store the last run's ratios")
    options = parser.parse_args()
    last = json.loads(options.last.read_text())
    if options.store:
        options.stored.write_text(json.dumps(last, indent=1, sort_keys=True) + "\n")
        return 0
    wrong, fine = compare(json.loads(options.stored.read_text()), last)
    print("\n".join([*wrong, f"{fine} ratios as before or better, {len(wrong)} not"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
