"""Pack recorded machines into tests/golden/: ``python tests/golden/pack.py FOLDER [CASE...]``.

FOLDER holds one folder a machine, with tables.elf, layout.json, case.json and the texts
that its kernel printed. Packing the same files again gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "python")]

from golden_cases import GOLDEN, pack  # noqa: E402


def main(corpus: Path, names: list[str]) -> None:
    for folder in sorted(corpus.iterdir()):
        if not (folder / "case.json").is_file() or (names and folder.name not in names):
            continue
        case = json.loads((folder / "case.json").read_bytes())
        wanted = {"tables.elf", "layout.json", "case.json", "boot-wx-check.txt", "vmcoreinfo.txt"}
        wanted |= {view["text"] for view in case["views"].values()}
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in wanted}
        packed = pack(files)
        (GOLDEN / f"{folder.name}.tar.xz").write_bytes(packed)
        print(f"{folder.name}: {len(packed)} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
