"""README.md's tables, which are written by the programs that measure them."""

from __future__ import annotations

import re
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
