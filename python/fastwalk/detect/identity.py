"""Which kernel this is: release and architecture, from `init_uts_ns`.

``struct new_utsname`` (include/uapi/linux/utsname.h) is six fields of 65 bytes:
"Linux", node name, release, version, machine, domain name. The machine's name makes
it the one thing that tells every architecture in every container, and its place in
memory against its symbol in VMCOREINFO tells where the kernel image was loaded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .memory import Memory

FIELD = 65
SYSNAME = b"Linux" + bytes(FIELD - 5)
_RELEASE = re.compile(rb"\d+\.\d+[0-9A-Za-z.+~_-]*")
# "#1 SMP Debian 6.1.1 (2024-...)"; init/version-timestamp.c fills it when the kernel is
# linked, the copy without a build number is not the live one.
_VERSION = re.compile(rb"#\d+.*")


@dataclass(frozen=True, slots=True)
class UtsName:
    pa: int
    """Where the structure is."""
    release: str
    version: str
    machine: str

    @property
    def kernel(self) -> str:
        """The version that names a dialect: 6.12.117 of 6.12.117-rt-amd64."""
        return dotted(self.release)


def dotted(release: str) -> str:
    found = re.match(r"\d+(\.\d+)*", release)
    return found.group() if found else release


def uts_at(memory: Memory, pa: int) -> UtsName | None:
    data = memory.read(pa, 6 * FIELD)
    if data is None or not data.startswith(SYSNAME):
        return None
    fields = [data[i * FIELD : (i + 1) * FIELD].split(b"\0")[0] for i in range(6)]
    _, _, release, version, machine, _ = fields
    if not (_RELEASE.fullmatch(release) and _VERSION.fullmatch(version) and machine.isascii()):
        return None
    return UtsName(pa, release.decode(), version.decode("ascii", "replace"), machine.decode())
