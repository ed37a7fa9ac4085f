"""Write docs/architectures.md from the specs: ``python docs/make_architectures.py``.

``text()`` is what the file must contain; tests/test_architectures_page.py compares.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from fastwalk import arch
from fastwalk.arch.spec import EXEC, READ, USER, USER_EXEC, WRITE, Spec

HERE = Path(__file__).resolve().parent
PAGE = HERE / "architectures.md"

HEAD = """\
# Architectures

Made by `python docs/make_architectures.py` from the descriptions under
`python/fastwalk/arch/`; a test compares. Do not edit by hand.

- **Pages**: sizes that an entry, or a group of entries with one descriptor, can map.
- **VA, PA**: bits of virtual and of physical addresses.
- **Attributes**: the names that the `attributes` column is decoded into.
- **Effective**: what the `effective` column can tell: read, write, execute (by the kernel),
  user access, execute by users. *Along the path*: table entries restrict what is below
  them, and that is combined; otherwise the leaf alone decides.
- **Text**: kernels whose ptdump is printed.
- **Checked against**: recorded kernels (`tests/golden/`) whose text comes out byte for byte
  from their page tables. *None* means that no recorded kernel used this mode; its tables are
  then described from the manuals and the kernel's sources alone.

| Mode | Pages | VA | PA | Attributes | Effective | Text | Checked against |
|---|---|---|---|---|---|---|---|
"""

PERMISSIONS = (
    (READ, "read"),
    (WRITE, "write"),
    (EXEC, "execute"),
    (USER, "user"),
    (USER_EXEC, "user execute"),
)


class Row(NamedTuple):
    """What a mode's line says beside its name, VA bits and cases."""

    family: str
    pages: str
    pa_bits: int
    attributes: str
    effective: str
    text: str


def size(count: int) -> str:
    """4096 -> 4K."""
    units = "BKMGTPE"
    unit = 0
    while count >= 1024 and not count % 1024:
        count, unit = count // 1024, unit + 1
    return f"{count}{units[unit]}"


def pages(spec: Spec) -> str:
    """All sizes of leaves, ascending."""
    sizes = set()
    span = 1 << spec.page_bits
    for depth in reversed(spec.depths):
        sizes |= {span * rule.replicated for rule in depth.rules if rule.kind == "leaf"}
        span <<= depth.index_bits
    return " ".join(size(one) for one in sorted(sizes))


def effective(spec: Spec) -> str:
    """What can be told, and whether tables have a say."""
    told = ", ".join(name for bit, name in PERMISSIONS if spec.permissions & bit)
    along = any(depth.table_path for depth in spec.depths)
    return f"{told}; along the path" if along else told


def cases() -> dict[str, list[str]]:
    """Mode -> recorded kernels with a view of it."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import golden_cases

    found = defaultdict(list)
    for name in golden_cases.names():
        layout = golden_cases.Case(name).layout
        for mode in {layout.mode_of(layout.root(view.root)) for view in layout.views.values()}:
            found[mode].append(name)
    return found


def describe(mode: str) -> Row:
    """A mode's line, but for what differs inside a family."""
    spec = arch.spec_of(mode)
    versions = ", ".join(".".join(version.split(".")[:2]) for version in arch.versions(mode))
    return Row(
        family=re.sub(r"-\d\d(-lpa2)?$", r"\1", mode),
        pages=pages(spec),
        pa_bits=spec.pa_bits,
        attributes=", ".join(name for name, _mask, _value in arch.attributes(mode)),
        effective=effective(spec),
        text="none of a kernel" if arch.unproved(mode) else versions,
    )


def checked(modes: list[str], recorded: dict[str, list[str]]) -> str:
    """The recorded kernels of some modes, or why there are none."""
    reason = arch.unproved(modes[0])
    if reason:
        return f"**{reason}**"
    names = sorted(name for mode in modes for name in recorded.get(mode, ()))
    return ", ".join(names) or "none"


def text() -> str:
    """The whole page."""
    recorded = cases()
    lines = []
    for row, group in groupby(sorted(arch.modes(), key=_order), key=describe):
        modes = list(group)
        bits = [arch.spec_of(mode).va_bits for mode in modes]
        name = f"`{modes[0]}`" if len(modes) == 1 else f"`{modes[0]}` to `{modes[-1]}`"
        va = str(bits[0]) if len(modes) == 1 else f"{bits[0]}-{bits[-1]}"
        columns = (
            name,
            row.pages,
            va,
            str(row.pa_bits),
            row.attributes,
            row.effective,
            row.text,
            checked(modes, recorded),
        )
        lines.append("| " + " | ".join(columns) + " |\n")
    return HEAD + "".join(lines)


def _order(mode: str) -> tuple[str, int, str, int]:
    spec = arch.spec_of(mode)
    return spec.arch, spec.page_bits, describe(mode).family, spec.va_bits


if __name__ == "__main__":
    PAGE.write_text(text())
    print(f"{PAGE.name}: written")
