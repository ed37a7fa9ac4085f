"""Docstrings name other things as Sphinx does (``:class:`~fastwalk.Image```); the site is
made from Markdown. Names of fastwalk's own become links where the site has them."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_ROLE = re.compile(r":(?:class|func|data|mod|attr|meth|exc):`(~?)([^`]+)`")


def _link(found: re.Match[str]) -> str:
    short, name = found.groups()
    text = name.rsplit(".", 1)[-1] if short else name
    if not name.startswith("fastwalk."):
        return f"`{text}`"
    return f'<autoref identifier="{name}" optional><code>{text}</code></autoref>'


class Roles(Extension):
    """Rewrites the docstrings of everything that is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(_link, obj.docstring.value)
