"""Attribute bits as columns that people read: rw, nx, user, memory type, flags."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import arch
from .arch.spec import EXEC, READ, USER, USER_EXEC, WRITE, PathBit, Spec

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNKNOWN = "-"
"""The memory type of a row that has none."""


def own_permissions(
    spec: Spec, depth: NDArray[np.uint8], attributes: NDArray[np.uint64]
) -> NDArray[np.uint8]:
    """What leaves allow by themselves, whatever stands above them: bits as in the
    ``effective`` column."""
    allowed = np.full(len(depth), spec.permissions, np.uint8)
    for number, of in enumerate(spec.depths):
        if of.leaf_path:
            rows = depth == number
            allowed[rows] &= ~_denied(of.leaf_path, attributes[rows])
    for exclusion in spec.exclusions:
        granted = (allowed & np.uint8(exclusion.granted)) == exclusion.granted
        allowed[granted] &= np.uint8(~exclusion.denied & 0xFF)
    return allowed


def _denied(path: tuple[PathBit, ...], attributes: NDArray[np.uint64]) -> NDArray[np.uint8]:
    denied = np.zeros(len(attributes), np.uint8)
    for bit in path:
        denied[(attributes & np.uint64(bit.mask)) == bit.value] |= np.uint8(bit.bits)
    return denied


def memory_type(
    spec: Spec, depth: NDArray[np.uint8], attributes: NDArray[np.uint64], leaf: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The memory types of rows, as numbers, and the names that these stand for. Rows that
    are no leaves, and values without a name, are :data:`UNKNOWN`; all leaves are where the
    tables of this mode know no types."""
    known = arch.memory_types(spec.name)
    names = (UNKNOWN, *dict.fromkeys(name for types in known for name, _, _ in types))
    number = {name: np.uint8(index) for index, name in enumerate(names)}
    codes = np.zeros(len(depth), np.uint8)
    for level, types in enumerate(known):
        rows = (depth == level) & leaf
        for name, mask, value in types:
            codes[rows & ((attributes & np.uint64(mask)) == value)] = number[name]
    return codes, names


def flags(spec: Spec, attributes: NDArray[np.uint64]) -> tuple[NDArray[np.uint32], tuple[str, ...]]:
    """The names of all attributes that are set, as :func:`fastwalk.arch.decode` has them,
    as numbers and the texts that these stand for."""
    values, codes = np.unique(attributes, return_inverse=True)
    texts = [" ".join(arch.decode(spec.name, int(value))) for value in values]
    number = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    mapped = np.array([number[text] for text in texts], np.uint32)
    return mapped[codes] if len(values) else codes.astype(np.uint32), tuple(number)


def decoded(
    spec: Spec,
    depth: NDArray[np.uint8],
    attributes: NDArray[np.uint64],
    effective: NDArray[np.uint8],
    leaf: NDArray[np.bool_],
) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """Columns and categories: what the entry itself says (``rw``, ``nx``: the kernel may
    not execute, ``user``), what is left of it (``effective_rw`` ...), ``memory`` and
    ``flags``. A right that the mode cannot deny is there; False in rows that are no
    leaves."""
    own = own_permissions(spec, depth, attributes)
    columns: dict[str, np.ndarray] = {}
    for prefix, allowed in (("", own), ("effective_", effective)):
        columns[f"{prefix}rw"] = _has(allowed, WRITE) & leaf
        columns[f"{prefix}nx"] = ~_has(allowed, EXEC) & leaf
        columns[f"{prefix}user"] = _has(allowed, USER) & leaf
        if spec.permissions & USER_EXEC:
            columns[f"{prefix}user_nx"] = ~_has(allowed, USER_EXEC) & leaf
        if spec.permissions & READ:
            columns[f"{prefix}r"] = _has(allowed, READ) & leaf
    columns["memory"], memory = memory_type(spec, depth, attributes, leaf)
    columns["flags"], texts = flags(spec, attributes)
    return columns, {"memory": memory, "flags": texts}


def _has(allowed: NDArray[np.uint8], bit: int) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = (allowed & np.uint8(bit)) != 0
    return result
