"""The values that the template of ``pictures.py`` shows: for each input of pictures, its steps as lines of Python."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from onnxpack.bundle import quoting
from onnxpack.core.values import Shape
from onnxpack.spec.intakes import Intake
from onnxpack.spec.picture_rules import DEFAULT_FORMATS, MAX_PIXELS
from onnxpack.spec.steps import PreprocessStep

FORMATS = {"jpeg": "JPEG", "png": "PNG", "webp": "WebP", "bmp": "BMP"}
"""The formats of pictures, as people write them."""
_PILLOW = {"nearest": "NEAREST", "linear": "BILINEAR", "cubic": "BICUBIC", "area": "BOX", "lanczos": "LANCZOS"}
_LIBRARIES = {"opencv": "OpenCV", "torchvision": "torchvision"}


PICTURE_ENV = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
"""The variables of images that decode pictures: without it glibc keeps the memory of a large one, for each thread."""


@dataclass(frozen=True)
class PictureView:
    """One input of pictures: what is decoded, and the steps up to what the ONNX file takes.

    ``lines`` are the steps in Python: the first ones change ``picture``, one of Pillow's, the last ones ``pixels``, an
    array [height, width, channels]. ``uses`` names the functions of ``pictures.py`` and ``resampling.py`` that they
    need, and ``shape`` and ``dtype`` are those of what the ONNX file takes.
    """

    name: str
    dtype: str
    formats: tuple[str, ...]
    max_pixels: int
    shape: Shape
    lines: tuple[str, ...]
    uses: tuple[str, ...]

    @classmethod
    def of(cls, intake: Intake) -> "PictureView":
        """Make the view of an intake of pictures, whose first step is ``decode``."""
        decode = intake.steps[0]
        given = intake.given[0]
        chain = _Chain()
        for step in intake.steps[1:]:
            chain.add(step)
        chain.end()
        formats = tuple(dict.fromkeys(decode.formats or DEFAULT_FORMATS))
        uses = tuple(dict.fromkeys((*formats, *chain.uses)))
        return cls(
            intake.name, given.dtype, formats, decode.max_pixels or MAX_PIXELS, given.shape, tuple(chain.lines), uses
        )

    @property
    def formats_literal(self) -> str:
        """Return the names of the formats as a tuple's literal in Python."""
        words = ", ".join(quoting.python_literal(word) for word in self.formats)
        return f"({words}{',' if len(self.formats) == 1 else ''})"

    @property
    def formats_text(self) -> str:
        """Return the formats for a reader: ``JPEG, PNG or BMP``."""
        *most, last = (FORMATS[name] for name in self.formats)
        return f"{', '.join(most)} or {last}" if most else last

    @property
    def max_pixels_literal(self) -> str:
        """Return the greatest number of pixels as a literal in Python."""
        return f"{self.max_pixels:_}"

    @property
    def empty_literal(self) -> str:
        """Return the shape of no pictures as a tuple's literal in Python; a size that may vary is 1 there."""
        return str((0, *(size if isinstance(size, int) else 1 for size in self.shape[1:])))

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """Return the functions of ``resampling.py`` that the steps call."""
        return tuple(sorted(name for name in self.uses if name.partition("_")[0] in _LIBRARIES))

    @property
    def libraries(self) -> tuple[str, ...]:
        """Return the libraries, as people write them, whose way to resize numpy does."""
        return tuple(dict.fromkeys(_LIBRARIES[name.partition("_")[0]] for name in self.functions))


@dataclass
class _Chain:
    """The lines of a picture's steps, and the form that the value has behind them."""

    lines: list[str] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    is_array: bool = False
    is_rgb: bool = False
    channels: int = 3
    dtype: str = "uint8"

    def add(self, step: PreprocessStep) -> None:
        """Add the lines of a step."""
        if step.op == "orient":
            self._call("picture", "orient", "picture")
            return
        self._require_rgb()
        steps: dict[str, Callable[[PreprocessStep], None]] = {
            "grayscale": self._grayscale, "swap": self._swap, "crop": self._crop, "resize": self._resize,
        }  # fmt: skip
        steps[step.op](step)

    def end(self) -> None:
        """Let the last line return an array."""
        self._require_rgb()
        self._require_array()
        self.lines[-1] = self.lines[-1].replace("pixels =", "return", 1)

    def _call(self, result: str, function: str, *arguments: str) -> None:
        self.uses.append(function)
        where = "resampling." if function.partition("_")[0] in _LIBRARIES else ""
        self.lines.append(f"{result} = {where}{function}({', '.join(arguments)})")

    def _require_rgb(self) -> None:
        if not self.is_rgb:
            self._call("picture", "to_rgb", "picture")
            self.is_rgb = True

    def _require_array(self) -> None:
        if not self.is_array:
            self._call("pixels", "to_array", "picture")
            self.is_array = True

    def _require_picture(self) -> None:
        if self.is_array:
            self._call("picture", "to_picture", "pixels")
            self.is_array = False

    def _grayscale(self, step: PreprocessStep) -> None:
        self.channels = 1
        if step.weights:
            self._require_array()
            self._call("pixels", "mix_channels", "pixels", _write_numbers(step.weights))
            self.dtype = "float32"
        elif step.like in _LIBRARIES:
            self._require_array()
            self._call("pixels", f"to_grey_{step.like}", "pixels")
        else:
            self._require_picture()
            self.lines.append('picture = picture.convert("L")')

    def _swap(self, step: PreprocessStep) -> None:
        self._require_array()
        self.lines.append("pixels = pixels[..., ::-1]")

    def _crop(self, step: PreprocessStep) -> None:
        self._require_array()
        function = "crop_low" if step.like == "transformers" else "crop"
        self._call("pixels", function, "pixels", *map(str, step.size or ()))

    def _resize(self, step: PreprocessStep) -> None:
        size = step.size or ()
        method = step.method or "linear"
        pad = step.pad or (0,)
        colour = pad * self.channels if len(pad) == 1 else pad
        if step.like in _LIBRARIES:
            self._require_array()
            self._resize_array(f"{step.like}_{method}", size, step.fit or "stretch", colour)
            return
        self._require_picture()
        resampling = f"Image.Resampling.{_PILLOW[method]}"
        if len(size) == 1:
            self._call("width, height", "scale_shorter", "picture.size", str(size[0]))
            self.lines.append(f"picture = picture.resize((width, height), {resampling})")
            return
        asked = str((size[1], size[0]))
        if step.fit in ("cover", "contain"):
            function = "fit" if step.fit == "cover" else "pad"
            more = f", {colour if self.channels > 1 else colour[0]}" if step.fit == "contain" else ""
            self.uses.append("ImageOps")
            self.lines.append(f"picture = ImageOps.{function}(picture, {asked}, {resampling}{more})")
        else:
            self.lines.append(f"picture = picture.resize({asked}, {resampling})")

    def _resize_array(self, function: str, size: tuple[int, ...], fit: str, colour: tuple[int, ...]) -> None:
        if len(size) == 1:
            self._call("height, width", "scale_shorter", "pixels.shape", str(size[0]))
        elif fit != "stretch":
            self._call("height, width", f"measure_{fit}", "pixels", *map(str, size))
        if len(size) == 2 and fit == "stretch":
            self._call("pixels", function, "pixels", *map(str, size))
            return
        self._call("pixels", function, "pixels", "height", "width")
        if fit == "cover":
            self._call("pixels", "crop", "pixels", *map(str, size))
        elif fit == "contain":
            self._call("pixels", "fill_up", "pixels", *map(str, size), str(colour))


def _write_numbers(values: tuple[float, ...]) -> str:
    """Return numbers as a tuple's literal in Python."""
    return f"({', '.join(repr(float(value)) for value in values)})"
