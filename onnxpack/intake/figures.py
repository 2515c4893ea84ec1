"""How near the rendered module's pixels and tokens are to those of the training libraries."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureFigures:
    """How near the module's pictures are to the libraries' own, over all kinds of files.

    ``largest`` is the largest difference of a value (of 255), which the file ``worst`` has, and ``differing`` the share
    of values that differ at all; ``refused`` counts the bad files, all of which were refused.
    """

    name: str
    libraries: dict[str, str]
    pictures: int
    refused: int
    largest: float
    differing: float
    worst: str


@dataclass(frozen=True)
class TextFigures:
    """What was compared: an input's texts, and the tokens that they became, all of which were equal.

    ``kind`` is the tokenizer's algorithm, and ``version`` that of the library.
    """

    name: str
    kind: str
    version: str
    texts: int
    tokens: int


@dataclass(frozen=True)
class IntakeFigures:
    """What was compared, input by input."""

    pictures: tuple[PictureFigures, ...] = ()
    texts: tuple[TextFigures, ...] = ()
