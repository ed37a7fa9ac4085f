"""What was found, and from where: the table that ``fastwalk info`` shows."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Evidence:
    """One finding."""

    what: str
    """Such as ``kernel version`` or ``root swapper_pg_dir``."""
    value: str
    source: str
    """Where it was read: ``VMCOREINFO (ELF note)``, ``marker array at PA 0x...``."""


@dataclass(slots=True)
class Report:
    """Findings and assumptions, in the order in which they were made."""

    evidence: list[Evidence] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def found(self, what: str, value: object, source: str) -> None:
        text = f"{value:#x}" if isinstance(value, int) else str(value)
        self.evidence.append(Evidence(what, text, source))

    def assumed(self, text: str) -> None:
        """Something that was not found, and what is taken instead."""
        self.warnings.append(text)
