"""What a module's source says that it imports, and when."""

import pytest

from onnxpack.bundle.imports import Block, read_code

SOURCE = b'''
"""A module, with a regular expression that newer Pythons warn of: "\\d"."""
import os, numpy as np
from . import sibling as near
from ..other import thing, more
from .star import *
if TYPE_CHECKING:
    import for_checkers
else:
    import for_all
try:
    import fast
except ImportError:
    from slow import late

TABLE = np.lib.format.magic("data.bin")

@near.wrap(called_by_decorator)
def plain(value=default_of_plain):
    import inside
    def nested():
        from inner import part
    return np.fft.rfft(helper(value))

async def waits():
    import awaited

def __getattr__(name):
    import on_demand

class Kind(Base):
    def method(self):
        import in_method
        return self.call_me()
'''


def read(source: bytes, *, is_package: bool = False) -> dict[str, Block]:
    return {block.function: block for block in read_code("a.b.c", source, is_package=is_package).blocks}


def test_what_runs_as_a_module_is_loaded_is_told_from_what_its_functions_do() -> None:
    blocks = read(SOURCE)
    assert list(blocks) == ["", "plain", "waits"]
    assert blocks[""].modules == (
        "os", "numpy", "a.b.sibling", "a.other.thing", "a.other.more", "a.b.star", "for_all", "fast", "slow.late",
        "numpy.lib.format.magic", "numpy.lib.format", "numpy.lib", "a.b.sibling.wrap", "in_method",
    )  # fmt: skip
    assert blocks["plain"].modules == ("inside", "inner.part", "numpy.fft.rfft", "numpy.fft")
    assert blocks["waits"].modules == ("awaited",)


def test_names_are_those_that_a_part_mentions_as_it_runs() -> None:
    blocks = read(SOURCE)
    assert {"called_by_decorator", "default_of_plain", "call_me", "Base"} <= blocks[""].names
    assert "helper" in blocks["plain"].names
    assert "helper" not in blocks[""].names


def test_relative_imports_of_a_package_begin_at_itself() -> None:
    assert read(b"from . import x\nfrom .y import z", is_package=True)[""].modules == ("a.b.c.x", "a.b.c.y.z")


def test_texts_that_may_name_files_are_found() -> None:
    assert read_code("a", SOURCE, is_package=False).texts >= {"data.bin"}


def test_what_this_python_cannot_read_is_an_error() -> None:
    with pytest.raises(SyntaxError):
        read(b"match x: y")


PEP_695 = """\
from a import T
type Alias = T.x | list["y"]
type Pairs[K: (int, str), V = dict[K, list[K]]] = dict[K, V]
def convert[
    Scalar: np.generic = np.generic[list[int]],
](value: Scalar) -> Scalar:
    import b
class Box[T](Base):
    async def open[*Ts](self) -> None:
        import c
type = 3
assert type == 3
"""


def test_types_of_a_newer_python_hide_no_import() -> None:
    code = read_code("m", PEP_695.encode(), is_package=False)
    blocks = {block.function: block.modules for block in code.blocks}
    assert {"a.T", "c"} <= set(blocks[""])
    assert "b" in blocks["convert"]
