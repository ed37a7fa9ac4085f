"""Findings as SARIF 2.1.0, which code-scanning services and editors read
(https://docs.oasis-open.org/sarif/sarif/v2.1.0/)."""

from __future__ import annotations

import hashlib
from typing import Any

from .._fastwalk import __version__
from .findings import Finding, Findings
from .rules import RULES

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_ADDRESS = (1 << 63) - 1
"""SARIF's addresses are signed; higher ones are told in words only."""


def log(
    findings: Findings, image: str, paths: dict[tuple[str, int], str] | None = None
) -> dict[str, Any]:
    """A SARIF log of one run. ``paths``: by space and address, the tables on the way to it."""
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "fastwalk",
                        "version": __version__,
                        "semanticVersion": __version__,
                        "rules": [
                            {
                                "id": rule.id,
                                "shortDescription": {"text": rule.title},
                                "fullDescription": {"text": rule.why},
                                "defaultConfiguration": {"level": rule.severity},
                            }
                            for rule in RULES
                        ],
                    }
                },
                "artifacts": [{"location": {"uri": _uri(image)}}],
                "results": [_result(finding, image, paths or {}) for finding in findings],
                "properties": {
                    "wxPages": findings.wx_pages,
                    "notJudged": [{"rule": rule, "why": why} for rule, why in findings.skipped],
                },
            }
        ],
    }


def _uri(image: str) -> str:
    import os
    from urllib.parse import quote

    return quote(os.fsencode(image))


def _result(finding: Finding, image: str, paths: dict[tuple[str, int], str]) -> dict[str, Any]:
    more = f" and {finding.also} more" if finding.also else ""
    where = f"{finding.start:#x}-{finding.last:#x} ({finding.place}) in {finding.space}{more}"
    address: dict[str, Any] = {
        "fullyQualifiedName": finding.place,
        "kind": "page",
        "name": f"{finding.start:#x}",
    }
    if finding.start <= MOST_ADDRESS:
        address["absoluteAddress"] = finding.start
    properties: dict[str, Any] = {
        "start": f"{finding.start:#x}",
        "size": f"{finding.size:#x}",
        "pa": f"{finding.pa:#x}",
        "space": finding.space,
        "moreSpaces": finding.also,
    }
    if (finding.space, finding.start) in paths:
        properties["path"] = paths[finding.space, finding.start]
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": RULES.index(finding.rule),
        "level": finding.severity,
        "message": {"text": f"{finding.rule.title}: {where} -> {finding.pa:#x}; {finding.detail}"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": _uri(image), "index": 0},
                    "address": address,
                }
            }
        ],
        "partialFingerprints": {
            "fastwalk/v1": hashlib.sha256(finding.fingerprint.encode()).hexdigest()
        },
        "properties": properties,
    }
