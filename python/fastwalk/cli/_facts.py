"""What is known of an image, for ``info`` and ``report``: rows of what, value, where from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastwalk import Image
    from fastwalk.layout import Layout

Fact = tuple[str, str, str]


def of_image(image: Image) -> list[Fact]:
    """What the file itself says."""
    size = sum(segment.size for segment in image.segments)
    rows = [
        ("image", image.name, ""),
        ("format", image.format, ""),
        ("memory", f"{size / (1 << 20):.1f} MiB", f"{len(image.segments)} segments"),
    ]
    if image.segments:
        first, last = image.segments[0], image.segments[-1]
        rows.append(("addresses", f"{first.pa:#x} - {last.pa + last.size:#x}", ""))
    return rows + [(key, value, "") for key, value in image.details]


def of_layout(image: Image, layout: Layout) -> list[Fact]:
    """What was found in it, or given with it: kernel, mode, roots and views."""
    evidence = list(image.evidence)
    known = {what for what, _, _ in evidence}
    if "kernel" not in known:
        evidence.insert(0, ("kernel", layout.kernel, "the layout"))
    if "mode" not in known:
        what = f"{layout.arch}, pages of {layout.page_size} bytes"
        evidence.append(("mode", layout.mode, what))
    sources = {what: source for what, _, source in evidence}
    names = {f"root {name}" for name in layout.roots}
    rows = [row for row in evidence if row[0] not in names]
    for name, root in layout.roots.items():
        source = sources.get(f"root {name}")
        said = f"{root.role}, {layout.mode_of(root)}" + (f"; {source}" if source else "")
        rows.append((f"root {name}", f"{root.pa:#x}", said))
    for name, view in layout.views.items():
        default = ", the default" if name == layout.default_view else ""
        rows.append((f"view {name}", view.root, f"{len(view.markers)} markers{default}"))
    return rows
