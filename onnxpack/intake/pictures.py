"""Compare what the rendered module makes of pictures with what the training libraries themselves make of them."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpack.core.errors import GateError, Problem
from onnxpack.intake.figures import PictureFigures
from onnxpack.intake.picture_files import PictureFile, make_bad_files, make_good_files
from onnxpack.intake.picture_reference import TooNarrowError, count_pixels, read_reference, require_module
from onnxpack.spec.intakes import Intake
from onnxpack.spec.picture_rules import DEFAULT_FORMATS, MAX_PIXELS

Read = Callable[[str, Sequence[bytes]], NDArray[Any]]
"""The function ``read_pictures`` of the rendered module."""

MOST = 1.0
"""The largest difference, of 255, that a build passes with."""
_NOTICED = 1e-3
"""What differs by less is the rounding of float32."""
_MODULES = {"pillow": "PIL", "opencv": "cv2", "torchvision": "torchvision"}
"""What each library is imported as."""
_FULL = 255


def compare_pictures(intake: Intake, modules: Mapping[str, str]) -> PictureFigures:
    """Read good and bad files by the rendered ``modules`` (texts by file name), and compare with the libraries.

    Raises GateError where a picture differs by more than 1 of 255, or a file is refused or taken that should not be.
    """
    read = load_modules(modules)["pictures.py"].read_pictures
    formats = intake.steps[0].formats or DEFAULT_FORMATS
    good = _Comparison(intake, read)
    for file in make_good_files(formats):
        good.add(file)
    taken, refused = _count_refused(intake.name, read, make_bad_files(formats))
    if not good.pictures and not good.problems:
        raise GateError(
            f"input '{intake.name}': no picture could be compared", "raise max_pixels, or make size smaller"
        )
    if problems := [*good.problems, *taken]:
        raise GateError(problems)
    share = good.differing / max(1, good.values)
    libraries = {name: str(require_module(_MODULES[name]).__version__) for name in _list_libraries(intake)}
    return PictureFigures(intake.name, libraries, good.pictures, refused, good.largest, share, good.worst)


def load_modules(texts: Mapping[str, str]) -> dict[str, ModuleType]:
    """Import rendered modules, and return them by file name; they find each other, and nothing else does."""
    order = sorted(texts, key=lambda file: file == "pictures.py")  # which imports the others
    names = [file.removesuffix(".py") for file in order]
    hidden = {name: sys.modules.pop(name) for name in names if name in sys.modules}
    modules = {}
    try:
        with TemporaryDirectory() as folder:
            for file, name in zip(order, names, strict=True):
                path = Path(folder, file)
                path.write_text(texts[file], encoding="utf-8")
                loader = SourceFileLoader(name, str(path))
                modules[file] = module_from_spec(ModuleSpec(name, loader, origin=str(path)))
                sys.modules[name] = modules[file]
                loader.exec_module(modules[file])
    finally:
        for name in names:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)
    return modules


class _Comparison:
    """What is known after some good files."""

    def __init__(self, intake: Intake, read: Read) -> None:
        self.intake, self.read = intake, read
        self.most = intake.steps[0].max_pixels or MAX_PIXELS
        self.pictures = self.differing = self.values = 0
        self.largest, self.worst = 0.0, ""
        self.problems: list[Problem] = []

    def add(self, file: PictureFile) -> None:
        """Compare one file."""
        if count_pixels(file.data) > self.most:
            return
        try:
            expected = read_reference(self.intake, file.data)
        except TooNarrowError:
            return  # nobody makes such a picture as large as that
        try:
            made = self.read(self.intake.name, [file.data])[0]
        except ValueError as error:
            self._tell(file, f"is refused: {error}")
            return
        if made.shape != expected.shape or made.dtype != expected.dtype:
            self._tell(file, f"is {made.dtype} {list(made.shape)}, not {expected.dtype} {list(expected.shape)}")
            return
        difference = np.abs(made.astype(np.float64) - expected)
        self.pictures += 1
        self.values += difference.size
        self.differing += int((difference > _NOTICED).sum())
        if (largest := float(difference.max())) > self.largest:
            self.largest, self.worst = largest, file.kind
        if not largest <= MOST:
            self._tell(file, f"differs by {largest:g} of {_FULL} from {' and '.join(_list_libraries(self.intake))}")

    def _tell(self, file: PictureFile, what: str) -> None:
        hint = "report this with the spec's preprocess steps, or use `like: pillow`, whose code the image has"
        self.problems.append(Problem(f"input '{self.intake.name}': a {file.kind} {what}", hint))


def _count_refused(name: str, read: Read, files: Iterable[PictureFile]) -> tuple[list[Problem], int]:
    problems, refused = [], 0
    for file in files:
        try:
            read(name, [file.data])
        except ValueError:
            refused += 1
        else:
            problems.append(Problem(f"input '{name}': this is taken for a picture: {file.kind}", "report this"))
    return problems, refused


def _list_libraries(intake: Intake) -> list[str]:
    return list(dict.fromkeys(["pillow", *(step.like for step in intake.steps if step.like)]))
