"""The parts that a page about a build is put together from: values alone, which the templates turn into HTML."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from onnxpack.core.text import plural
from onnxpack.reports.charts import Chart
from onnxpack.reports.commands import Command

Tone = Literal["", "soft", "good", "bad", "code"]
"""How a text is meant: plain, less important, as it should be, not as it should be, a name of code."""
DASH = "\N{EN DASH}"
"""The text of a cell whose figure is not known."""
_FOLDED_OVER = 12
"""How many rows of a table are shown at once; a longer one is folded, and opened by a click or for print."""
_WIDE = 5
"""How many columns a table needs to take the whole width: in fewer, a figure would stand far from its name."""
_MOST_ROWS = 400
"""How many rows a table has at most: the report has them all."""


@dataclass(frozen=True)
class Span:
    """A bar inside a table's cell, in hundredths of its width."""

    start: float
    width: float
    tone: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a table: its text, how it is meant, a bar before the text, and where it leads."""

    text: str
    tone: Tone = ""
    bar: Span | None = None
    link: str = ""
    """The address of another page that the text leads to."""


@dataclass(frozen=True)
class Table:
    """A table; ``right`` has the columns that are aligned to the right, which are those of numbers."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    right: frozenset[int] = frozenset()
    folded: bool = False
    more: int = 0
    """How many rows were left out."""
    kind = "table"

    @property
    def wide(self) -> bool:
        """Return whether it takes the whole width."""
        return len(self.heads) >= _WIDE or any(cell.bar for cell in self.rows[0])

    @property
    def summary(self) -> str:
        """Return the line that a folded table is opened by."""
        return f"{self.caption}: {plural(len(self.rows) + self.more, 'row')}"


@dataclass(frozen=True)
class Facts:
    """Terms with their values."""

    pairs: tuple[tuple[str, Cell], ...]
    kind = "facts"


@dataclass(frozen=True)
class Commands:
    """Commands to copy."""

    commands: tuple[Command, ...]
    kind = "commands"


@dataclass(frozen=True)
class Step:
    """A stage of the chain, and what became of it."""

    name: str
    state: Literal["done", "failed", "not reached"]


@dataclass(frozen=True)
class Steps:
    """The chain, in order."""

    steps: tuple[Step, ...]
    kind = "steps"


@dataclass(frozen=True)
class Notes:
    """Sentences, one below the other."""

    title: str
    texts: tuple[str, ...]
    kind = "notes"


@dataclass(frozen=True)
class Words:
    """A paragraph."""

    text: str
    tone: Tone = ""
    kind = "words"


Block = Table | Facts | Commands | Steps | Notes | Words | Chart


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    id: str
    title: str
    blocks: tuple[Block, ...]


def make_section(name: str, title: str, blocks: Iterable[Block | None]) -> Section | None:
    """Return a section of those blocks that there are; None if there is none."""
    found = tuple(block for block in blocks if block)
    return Section(name, title, found) if found else None


def make_table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[Cell | str]],
    right: Iterable[int] = (),
    *,
    fold: bool | None = None,
    most: int = _MOST_ROWS,
) -> Table | None:
    """Return a table of at most so many rows, or None if it has none; without ``fold`` it is folded if it is long."""
    found = [tuple(Cell(cell) if isinstance(cell, str) else cell for cell in row) for row in rows]
    shown = tuple(found[:most])
    folded = len(shown) > _FOLDED_OVER if fold is None else fold
    return Table(caption, tuple(heads), shown, frozenset(right), folded, len(found) - len(shown)) if found else None


def make_facts(pairs: Iterable[tuple[str, Cell | str | None]]) -> Facts | None:
    """Return the facts that are known; None if none is."""
    known = [(name, Cell(value) if isinstance(value, str) else value) for name, value in pairs if value]
    return Facts(tuple(known)) if known else None
