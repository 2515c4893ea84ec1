"""Compare what the rendered module makes of pictures and texts with what the training libraries make of them."""

from collections.abc import Mapping
from pathlib import Path

from onnxpack.intake.figures import IntakeFigures
from onnxpack.intake.pictures import compare_pictures
from onnxpack.intake.reference import load_texts
from onnxpack.intake.texts import compare_texts, load_tokenize
from onnxpack.spec.intakes import list_intakes
from onnxpack.spec.load import SpecFile

_PICTURES, _TEXTS = ("pictures.py", "resampling.py"), "texts.py"


def check_intakes(file: SpecFile, modules: Mapping[str, str], data: Mapping[str, Path]) -> IntakeFigures:
    """Compare all intakes of a spec; ``modules`` are rendered, and ``data`` the files beside them, by their names.

    Raises:
        GateError: one makes other pixels or tokens than training does.
        SourceError: a library is not installed.
    """
    intakes = list_intakes(file.spec)
    parts = {name: text for name, text in modules.items() if name in _PICTURES}
    pictures = tuple(compare_pictures(intake, parts) for intake in intakes if intake.kind == "picture")
    texts = [intake for intake in intakes if intake.kind == "text"]
    references = [load_texts(file, intake) for intake in texts]
    if not texts:
        return IntakeFigures(pictures)
    tokenize = load_tokenize(modules[_TEXTS], data)
    pairs = zip(texts, references, strict=True)
    return IntakeFigures(pictures, tuple(compare_texts(*pair, tokenize) for pair in pairs))
