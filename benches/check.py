"""Holds the ratios of the last `make bench` against the stored ones.

make bench-check                     # fails where one fell by more than 20 %
python benches/check.py --store      # makes those of the last run the stored ones
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
LAST = FOLDER / "images" / "ratios.json"
STORED = FOLDER / "ratios.json"
ALLOWED = 0.8
"""A ratio may fall to this part of the stored one."""


def main() -> int:
    """Compares, or stores."""
    last = json.loads(LAST.read_text())
    if "--store" in sys.argv[1:]:
        STORED.write_text(json.dumps(last, indent=1, sort_keys=True) + "\n")
        return 0
    stored = json.loads(STORED.read_text())
    fallen = {
        name: (ratio, last[name])
        for name, ratio in stored.items()
        if name in last and last[name] < ALLOWED * ratio
    }
    missing = sorted(set(stored) - set(last))
    for name, (before, now) in fallen.items():
        print(f"{name}: {before:.3f} before, {now:.3f} now")
    if missing:
        print(f"not measured: {', '.join(missing)}")
    print(f"{len(stored) - len(fallen) - len(missing)} ratios as before, {len(fallen)} fell")
    return 1 if fallen or missing else 0


if __name__ == "__main__":
    sys.exit(main())
