"""What an audit found: columns, and the rules behind them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..errors import FastwalkError
from ..frames import Columnar, Frame
from .rules import BY_ID, RULES, SEVERITIES, Rule, Severity, reaches
from .sections import Sections, names_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

BASELINE = 1
"""Version of the baseline's format."""

_RULE_IDS = tuple(rule.id for rule in RULES)
_NUMBER = {name: number for number, name in enumerate(_RULE_IDS)}


class Finding(NamedTuple):
    """One of them."""

    rule: Rule
    space: str
    start: int
    size: int
    pa: int
    detail: str
    place: str
    """The section of the address space, and where in it."""
    stable: str
    """The same, wherever KASLR has put the kernel."""
    also: int = 0
    """How many more spaces have the same."""

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.rule.severity

    @property
    def last(self) -> int:
        """The last address."""
        return self.start + (self.size or 1 << 64) - 1

    @property
    def fingerprint(self) -> str:
        """What a baseline knows it by: by section and offset, so that a kernel that lies
        elsewhere at its next boot has the same ones."""
        return f"{self.rule.id}:{self.space}:{self.stable}:{self.size:#x}"


class Part(NamedTuple):
    """What one rule found."""

    rule: str
    space: NDArray[np.uint32]
    start: NDArray[np.uint64]
    size: NDArray[np.uint64]
    pa: NDArray[np.uint64]
    other: NDArray[np.uint64]
    """What the finding is about besides: the writable alias, the page table."""
    detail: str
    """For people; may name ``other``, and ``where`` that is if in another space."""
    other_space: NDArray[np.uint32] | None = None
    """The space of ``other``, where that is not the same one."""


class Findings(Columnar):
    """Findings, the worst first, then by space and address.

    ``rule`` uint16 indexes :data:`~fastwalk.analysis.rules.RULES`, ``space`` uint32
    :attr:`spaces`; ``start``, ``size``, ``pa`` (of the first byte) and ``other`` are uint64
    (``other`` is what else a finding is about: the writable alias of executable memory, which
    is in the space ``other_space``; the page table; the entries of a group). What several
    spaces have in common (the kernel's half is in every process's) is there once, of the first
    of them; ``also`` uint32 says how many more have it.
    """

    NAMES = ("rule", "space", "start", "size", "pa", "other", "other_space", "also")

    def __init__(
        self,
        columns: dict[str, np.ndarray],
        spaces: tuple[str, ...],
        sections: tuple[Sections, ...],
        details: dict[str, str],
        wx_pages: int = 0,
        skipped: tuple[tuple[str, str], ...] = (),
        accepted: int = 0,
    ) -> None:
        self.columns = columns
        self.spaces = spaces
        self.sections = sections
        self.details = details
        self.wx_pages = wx_pages
        """Pages that the kernel's own check at boot counts."""
        self.skipped = skipped
        """(rule, why) of what was not looked for."""
        self.accepted = accepted
        """How many a baseline has taken out."""

    @classmethod
    def of_parts(
        cls,
        parts: list[Part],
        spaces: tuple[str, ...],
        sections: tuple[Sections, ...],
        wx_pages: int,
        skipped: tuple[tuple[str, str], ...],
    ) -> Findings:
        """Puts them together and in order."""
        columns = {
            "rule": np.concatenate(
                [np.full(len(part.start), _NUMBER[part.rule], np.uint16) for part in parts]
                or [np.zeros(0, np.uint16)]
            )
        }
        for name in cls.NAMES[1:-1]:
            kind = np.uint32 if name in ("space", "other_space") else np.uint64
            pieces = [
                (part.space if (given := getattr(part, name)) is None else given).astype(kind)
                for part in parts
            ]
            columns[name] = np.concatenate(pieces or [np.zeros(0, kind)])
        order = np.lexsort((columns["start"], columns["space"], columns["rule"]))
        columns = _once(_merged({name: column[order] for name, column in columns.items()}))
        details = {part.rule: part.detail for part in parts}
        return cls(columns, spaces, sections, details, wx_pages, skipped)

    def __len__(self) -> int:
        return len(self.columns["rule"])

    def __getitem__(self, key: slice | NDArray[np.bool_] | NDArray[np.intp]) -> Findings:
        picked = {name: column[key] for name, column in self.columns.items()}
        return Findings(
            picked,
            self.spaces,
            self.sections,
            self.details,
            self.wx_pages,
            self.skipped,
            self.accepted,
        )

    def __iter__(self) -> Iterator[Finding]:
        lists = (self.columns[name].tolist() for name in self.NAMES)
        for number, space, start, size, pa, other, there, also in zip(*lists, strict=True):
            rule = RULES[number]
            where = f" in {self.spaces[there]}" if there != space else ""
            yield Finding(
                rule,
                self.spaces[space],
                start,
                size,
                pa,
                self.details[rule.id].format(other=other, where=where),
                self.sections[space].place(start),
                self.sections[space].stable_place(start),
                also,
            )

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts().items())
        return f"<fastwalk.Findings: {counts or 'none'}>"

    def _repr_html_(self) -> str:
        from ..view.html import findings_table

        return findings_table(self)

    def counts(self) -> dict[str, int]:
        """How many of each rule that has any, the worst first."""
        numbers = np.bincount(self.columns["rule"], minlength=len(RULES))
        return {rule.id: int(n) for rule, n in zip(RULES, numbers, strict=True) if n}

    def severities(self) -> dict[Severity, int]:
        """How many of each severity, from the mildest on."""
        found = dict.fromkeys(SEVERITIES, 0)
        for rule, count in self.counts().items():
            found[BY_ID[rule].severity] += count
        return found

    def of_rule(self, rule: str) -> Findings:
        """Those of one rule. KeyError if there is no such rule."""
        return self[self.columns["rule"] == _NUMBER[rule]]

    def reaching(self, levels: tuple[str, ...]) -> Findings:
        """Those of the rules, and of the severities and worse, that are named."""
        wanted = [number for number, rule in enumerate(RULES) if reaches(rule, levels)]
        return self[np.isin(self.columns["rule"], wanted)]

    def frame(self, *, decoded: bool = False) -> Frame:
        """The columns; ``decoded`` adds ``severity`` and ``section``."""
        columns = dict(self.columns)
        categories = {"rule": _RULE_IDS, "space": self.spaces, "other_space": self.spaces}
        if decoded:
            severities = tuple(dict.fromkeys(rule.severity for rule in RULES))
            of_rule = np.array([severities.index(rule.severity) for rule in RULES], np.uint8)
            columns["severity"] = of_rule[columns["rule"]]
            categories["severity"] = severities
            columns["section"], categories["section"] = names_of(
                self.sections, columns["space"], columns["start"]
            )
        return Frame(columns, categories, {"what": "findings"})

    def write_baseline(self, path: str | os.PathLike[str]) -> None:
        """Writes a file that accepts all of these. FastwalkError."""
        accepted = sorted({finding.fingerprint for finding in self})
        text = json.dumps({"fastwalk-baseline": BASELINE, "accepted": accepted}, indent=1)
        try:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text + "\n")
        except OSError as error:
            raise FastwalkError(f"{path}: {error.strerror}; give a file to write to") from None

    def without(self, baseline: str | os.PathLike[str]) -> Findings:
        """Without what a baseline accepts. FastwalkError."""
        try:
            with open(baseline, "rb") as file:
                data = json.load(file)
            known = frozenset(data["accepted"]) if data["fastwalk-baseline"] == BASELINE else None
        except OSError as error:
            raise FastwalkError(
                f"{baseline}: {error.strerror}; write one with --write-baseline"
            ) from None
        except (ValueError, KeyError, TypeError):
            known = None
        if known is None:
            raise FastwalkError(f"{baseline}: is no baseline; write one with --write-baseline")
        keep = np.array([finding.fingerprint not in known for finding in self], np.bool_)
        left = self[keep]
        left.accepted = len(self) - len(left)
        left.wx_pages = self.wx_pages
        return left


def _merged(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Neighbours of one rule and space that are about nothing else, as one; ``pa`` is then
    the first one's."""
    start, size = columns["start"], columns["size"]
    count = len(start)
    if not count:
        return columns
    joins = np.zeros(count, np.bool_)
    joins[1:] = (start[:-1] + size[:-1] == start[1:]) & (size[:-1] != 0)
    for name in ("rule", "space", "other", "other_space"):
        joins[1:] &= columns[name][:-1] == columns[name][1:]
    heads = np.flatnonzero(~joins)
    merged = {name: column[heads] for name, column in columns.items()}
    merged["size"] = np.add.reduceat(size, heads)
    return merged


def _once(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What several spaces have in common, of the first of them, and how many more there are."""
    names = ("rule", "start", "size", "pa", "other")
    order = np.lexsort([columns["space"], *(columns[name] for name in reversed(names))])
    new = np.zeros(len(order), np.bool_)
    new[:1] = True
    for name in names:
        column = columns[name][order]
        new[1:] |= column[1:] != column[:-1]
    heads = np.flatnonzero(new)
    again = np.diff(np.append(heads, len(order))) - 1
    keep = order[heads]
    back = np.argsort(keep)
    picked = {name: column[keep[back]] for name, column in columns.items()}
    picked["also"] = again[back].astype(np.uint32)
    return picked
