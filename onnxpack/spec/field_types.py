"""The annotated types that the spec's fields share, and the function that describes a field."""

import re
from dataclasses import MISSING, field
from typing import Annotated, Any, Literal

from onnxpack.spec.constraints import Between, Pattern

Need = Literal["score", "speed", "image", "container", "soak", "gpu"]
"""What a build must have measured before a gate can be judged."""


def describe_field(
    doc: str,
    default: Any = MISSING,
    *,
    factory: Any = MISSING,
    example: str = "",
    later: bool = False,
    need: Need | None = None,
) -> Any:
    """Make a dataclass field that describes itself.

    ``doc`` is its meaning in one line, ``example`` a value in YAML. ``later`` marks a field that a later release
    supports, and ``need`` says what must be measured for a gate.
    """
    metadata = {"doc": doc, "example": example, "later": later, "need": need}
    if factory is not MISSING:
        return field(default_factory=factory, metadata=metadata)
    return field(default=default, metadata=metadata)


def _hyphenate(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _strip_digest(text: str) -> str:
    return text.strip().removeprefix("sha256:").lower()


Word = Annotated[
    str,
    Pattern(
        r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "lower-case letters, digits and inner hyphens, at most 63",
        repair=_hyphenate,
    ),
]
Tag = Annotated[str, Pattern(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", "an image tag: letters, digits, '_', '.', '-'")]
TensorName = Annotated[str, Pattern(r"[^\x00-\x1f\x7f-\x9f]{1,200}", "a name of at most 200 printable characters")]
AxisName = Annotated[str, Pattern(r"[A-Za-z_][A-Za-z0-9_]{0,62}", "letters, digits and '_', not first a digit")]
Text = Annotated[
    str,
    Pattern(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f]{0,2000}", "a text of at most 2000 characters without control characters"),
]
Line = Annotated[
    str,
    Pattern(
        r"[^\x00-\x08\x0a-\x1f\x7f-\x9f]{0,2000}",
        "a text of one line and of at most 2000 characters",
        "remove line breaks and control characters: an image cannot carry them",
    ),
]
"""A text that a Dockerfile can express as the value of a variable."""
FilePath = Annotated[str, Pattern(r"[^\x00-\x1f\x7f$]{1,1000}", "a file's path")]
CodeReference = Annotated[
    str, Pattern(r"[^:\s$]+:[A-Za-z_][\w.]*", "a reference to code: FILE.py:NAME or package.module:NAME")
]
TopMetric = Annotated[str, Pattern(r"top-[1-9][0-9]{0,3}", "top- and a number, such as top-3")]
Pin = Annotated[
    str,
    Pattern(
        r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(\[[A-Za-z0-9._, -]{1,200}\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}",
        "an exact pin, such as scikit-learn==1.5.2",
    ),
]
_VERSION = r"(===|==|~=|!=|<=|>=|<|>) ?[A-Za-z0-9][A-Za-z0-9.!+*_-]{0,99}"
Requirement = Annotated[
    str,
    # PEP 508 without URLs and markers: a lock's lines hold neither, and an image has one platform.
    Pattern(
        rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,99}}(\[[A-Za-z0-9._, -]{{1,200}}\])?( ?{_VERSION}( ?, ?{_VERSION}){{0,9}})?",
        "a package with versions, such as prometheus-client>=0.21",
        "give a name and versions, without URLs, paths, options and markers",
    ),
]
_HOST_PART = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PORT = r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_IMAGE_PART = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
ImageName = Annotated[
    str,
    # The distribution project's grammar of a repository: an optional host with a port, then path components.
    Pattern(
        rf"({_HOST_PART}(\.{_HOST_PART})*(:{_PORT})?/)?{_IMAGE_PART}(/{_IMAGE_PART})*",
        "an image name without a tag, in lower case",
        "use a name such as registry.example.com/risk/transactions; `version` makes the tag",
        repair=str.lower,
    ),
]
ImageReference = Annotated[
    str,
    Pattern(
        r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,254}(@sha256:[0-9a-f]{64})?",
        "an image reference",
        "use name:tag, or, for always the same image, name@sha256:… with 64 hex digits",
    ),
]
LabelKey = Annotated[
    str,
    Pattern(r"[A-Za-z0-9]([A-Za-z0-9._/-]{0,126}[A-Za-z0-9])?", "a label's key: letters, digits, '.', '-', '_', '/'"),
]
VariableName = Annotated[str, Pattern(r"[A-Za-z_][A-Za-z0-9_]*", "a variable's name: letters, digits and '_'")]
Sha256 = Annotated[
    str, Pattern(r"[0-9a-f]{64}", "64 lower-case hex digits", "`sha256sum FILE` prints them", _strip_digest)
]
Positive = Annotated[int, Between(1, 2**31 - 1)]
Ratio = Annotated[float, Between(0, 1)]
Dtype = Literal[
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
    "string",
]
