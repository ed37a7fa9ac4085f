"""Where columns come from: image, layout, mode and roots. What a file of results keeps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .layout import Layout, loads


class Walked(NamedTuple):
    """One address space of a walk."""

    name: str
    mode: str
    root: int
    """Physical address of the top table."""
    half: str
    role: str = "kernel"
    view: str | None = None
    index_va_bits: int | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """What a walk was of."""

    image: str
    """The image's name: its path."""
    layout: Layout
    spaces: tuple[Walked, ...]
    """One, or what the numbers of the ``space`` column stand for."""
    coalesce: str
    segments: tuple[tuple[int, int], ...] = ()
    """(PA, size) of the memory that the image has."""
    sha256: str | None = None
    """Of the image file, where it is known."""
    hashed: Callable[[], str | None] | None = field(default=None, compare=False, repr=False)
    """Computes it."""

    def to_json(self, *, with_hash: bool = False) -> dict[str, object]:
        """What :meth:`from_json` reads."""
        digest = self.sha256
        if with_hash and digest is None and self.hashed is not None:
            digest = self.hashed()
        return {
            "image": {
                "name": self.image,
                "sha256": digest,
                "segments": [[hex(pa), hex(size)] for pa, size in self.segments],
            },
            "layout": self.layout.to_json(),
            "spaces": [space._asdict() for space in self.spaces],
            "coalesce": self.coalesce,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Origin:
        """The origin that a file of results names."""
        image = data["image"]
        return cls(
            image=image["name"],
            layout=loads(data["layout"], f"the layout of {image['name']}"),
            spaces=tuple(Walked(**space) for space in data["spaces"]),
            coalesce=data["coalesce"],
            segments=tuple((int(pa, 16), int(size, 16)) for pa, size in image["segments"]),
            sha256=image["sha256"],
        )


def sha256_of(source: str | os.PathLike[str] | bytes, largest: int | None) -> str | None:
    """The SHA-256 of a file or of bytes in hex; None where it has more than ``largest``
    bytes, or cannot be read any more."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    try:
        if largest is not None and os.stat(source).st_size > largest:
            return None
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
