"""The list of processes, without debugging information: the form of the structures.

Where the members of ``struct task_struct`` (include/linux/sched.h) lie depends on the
configuration, so they are told by what must hold for all tasks at once:

* ``comm``: in `init_task` it begins "swapper" (init/init_task.c, INIT_TASK_COMM);
* ``tasks``: a circular list with correct back links, on which every member has a
  printable ``comm``;
* ``mm`` and ``active_mm`` are neighbours: equal in a process, 0 and something else in
  a kernel thread;
* ``pid`` and ``tgid`` are neighbours, equal in every member of this list, 1 in the
  first and 2 in the second task, never twice the same;
* ``mm->pgd`` is where `init_mm` holds the kernel's root.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from .kernel import Kernel
from .virtual import Virtual

_TASK = 8 << 10
"""As far as `comm` is looked for in `init_task`. The other members lie before it."""
_MM = 2048
_COMM = 16
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class Process:
    pid: int
    comm: str
    pgd: int
    """PA of its top table."""
    mm: bytes
    """The beginning of its mm_struct."""


@dataclass(frozen=True, slots=True)
class _Task:
    va: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Reader:
    """Words of a structure."""

    word: int
    mark: str

    @classmethod
    def of(cls, kernel: Kernel) -> Reader:
        return cls(kernel.word_bytes, "<" if kernel.byte_order == "little" else ">")

    def words(self, data: bytes) -> tuple[int, ...]:
        letter = "Q" if self.word == 8 else "I"
        return struct.unpack(
            f"{self.mark}{len(data) // self.word}{letter}", data[: len(data) & -self.word]
        )

    def ints(self, data: bytes) -> tuple[int, ...]:
        return struct.unpack(f"{self.mark}{len(data) // 4}i", data[: len(data) & -4])


def find(kernel: Kernel, virtual: Virtual, root: int) -> list[Process]:
    """Every process with memory of its own, in the order of the kernel's list. Empty
    where there are no symbols or the list cannot be told."""
    init_task = kernel.symbol("init_task")
    if init_task is None:
        return []
    reader = Reader.of(kernel)
    data = virtual.read(init_task, _TASK)
    comm = -1 if data is None else data.find(b"swapper")
    pgd = pgd_offset(kernel, virtual, root)
    if data is None or comm < 0 or pgd is None:
        return []
    first = _Task(init_task, data[: comm + _COMM])
    tasks = _list(virtual, reader, first, comm)
    if not tasks:
        return []
    mm = _mm_offset(reader, tasks)
    pid = _pid_offset(reader, tasks)
    if mm is None or pid is None:
        return []
    kernel.report.found(
        "processes",
        f"{len(tasks)} on the list of init_task",
        f"told by form: comm at {comm:#x}, mm at {mm:#x}, pid at {pid:#x}, pgd at {pgd:#x}",
    )
    out = []
    for task in tasks:
        memory = reader.words(task.data)[mm // reader.word]
        table = virtual.read(memory + pgd, reader.word) if memory else None
        if table is None:
            continue
        pa = virtual.pa(reader.words(table)[0])
        if pa is not None:
            number = reader.ints(task.data)[pid // 4]
            out.append(Process(number, _comm(task, comm), pa, virtual.read(memory, _MM) or b""))
    return out


def pgd_offset(kernel: Kernel, virtual: Virtual, root: int) -> int | None:
    """Where mm_struct has `pgd`: `init_mm` holds the kernel's root there."""
    init_mm = kernel.symbol("init_mm")
    data = None if init_mm is None else virtual.read(init_mm, _MM)
    if data is None:
        return None
    for i, word in enumerate(Reader.of(kernel).words(data)):
        if word and virtual.pa(word) == root:
            return i * kernel.word_bytes
    return None


def _list(virtual: Virtual, reader: Reader, first: _Task, comm: int) -> list[_Task]:
    """All tasks but `init_task`."""
    words = reader.words(first.data)
    for i, head in enumerate(words[:-1]):
        # list_head: next, prev. An empty list points at itself.
        here = first.va + i * reader.word
        if head in (0, here) or words[i + 1] in (0, here):
            continue
        back = virtual.read(head, 2 * reader.word)
        if back is None or reader.words(back)[1] != here:
            continue
        tasks = _members(virtual, reader, here, head, i * reader.word, comm)
        if tasks:
            return tasks
    return []


def _members(
    virtual: Virtual, reader: Reader, head: int, at: int, offset: int, comm: int
) -> list[_Task]:
    tasks: list[_Task] = []
    while at != head:
        data = virtual.read(at - offset, comm + _COMM)
        if data is None:
            return []
        task = _Task(at - offset, data)
        if not _comm(task, comm) or len(tasks) >= _MOST:
            return []
        tasks.append(task)
        i = offset // reader.word
        at = reader.words(task.data)[i]
    return tasks


def _comm(task: _Task, offset: int) -> str:
    """The name, or nothing where it is none."""
    name = task.data[offset : offset + _COMM].split(b"\0")[0]
    if not name or len(name) == _COMM or not all(0x20 <= c < 0x7F for c in name):
        return ""
    return name.decode()


def _mm_offset(reader: Reader, tasks: list[_Task]) -> int | None:
    columns = [reader.words(task.data) for task in tasks]
    for i in range(len(columns[0]) - 1):
        pairs = [(words[i], words[i + 1]) for words in columns]
        users = [mm for mm, active in pairs if mm and mm == active]
        idle = sum(1 for mm, _ in pairs if mm == 0)
        # The same mm can serve several processes (vfork), not most of them.
        if (
            users
            and idle
            and len(users) + idle == len(pairs)
            and all(_is_pointer(reader, mm) for mm in users)
            and 2 * len(set(users)) >= len(users)
        ):
            return i * reader.word
    return None


def _pid_offset(reader: Reader, tasks: list[_Task]) -> int | None:
    columns = [reader.ints(task.data) for task in tasks]
    for i in range(len(columns[0]) - 1):
        pids = [ints[i] for ints in columns]
        if (
            pids[:2] == [1, 2][: len(pids)]
            and pids == [ints[i + 1] for ints in columns]
            and len(set(pids)) == len(pids)
            and min(pids) > 0
        ):
            return 4 * i
    return None


def _is_pointer(reader: Reader, word: int) -> bool:
    return word % reader.word == 0 and word >= 4096
