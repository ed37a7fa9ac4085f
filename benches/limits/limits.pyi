"""See src/lib.rs."""

from typing import final

@final
class Map:
    def __new__(cls, path: str, skip: int) -> Map: ...
    def read(
        self, tables: bytes, size: int, isa: str, threads: int, ahead: bool
    ) -> tuple[int, float]: ...
    def kernel_walk(
        self, root: int, first: int, last: int, keep: bool
    ) -> tuple[int, int, int, float]: ...

def write_columns(rows: int, widths: list[int], huge: bool, threads: int) -> float: ...
