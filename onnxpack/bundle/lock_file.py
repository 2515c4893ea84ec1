"""The layout of a lock's file: JSON with one line for each thing that may move, so that its differences are short."""

import json
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

FORMAT = 3
"""The version of a lock's layout; a lock of another one is refused, and has to be made again."""

# A package's parts become words of a requirements file, where a space would add an option.
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,99}\Z")]
Version = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.!+_-]{0,99}\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
WheelName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]{0,250}\.whl\Z")]


class LockedBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A base image as the spec names it, and the digest that its registry had under that name."""

    reference: str
    digest: str

    @property
    def pinned(self) -> str:
        """Return the name that always means the same image."""
        name, _, tag = self.reference.rpartition(":")
        return f"{self.reference if '/' in tag or not name else name}@{self.digest}"


class Wheels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A package: its version, the SHA-256 of each of its wheels by name, and what it requires."""

    version: Version
    wheels: Annotated[dict[WheelName, Sha256], msgspec.Meta(min_length=1)]
    requires: tuple[Name, ...]


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the images of one device and platform share."""

    device: str
    platform: str
    python: str
    requirements: tuple[str, ...]
    packages: dict[Name, Wheels]
    base: LockedBase | None = None


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"format": "onnxpack-lock"}):
    """The whole file; ``targets`` maps each target to the name of its runtime."""

    format: int
    targets: dict[str, str]
    runtimes: dict[str, Runtime]
    sources: dict[str, Sha256] = {}
    tools: dict[Name, Version] = {}
    environment: dict[Name, Version] = {}
    tolerances: dict[str, dict[str, str]] = {}


class _Format(msgspec.Struct, rename={"format": "onnxpack-lock"}):
    format: Any


def read_format(text: bytes) -> Any:
    """Return what a lock says of its layout's version.

    Raises:
        msgspec.DecodeError: it is no JSON, or does not say it.
    """
    return msgspec.json.decode(text, type=_Format).format


def render(document: Document) -> str:
    """Return the text of a document: sorted, and with one line for each name, version and hash."""
    parts = [f' "onnxpack-lock": {document.format}']
    for name, mapping in (
        ("sources", document.sources), ("tools", document.tools), ("environment", document.environment),
        ("tolerances", document.tolerances), ("targets", document.targets),
    ):  # fmt: skip
        if mapping or name == "targets":
            parts.append(
                f" {_encode(name)}: {_render_lines(((key, _encode(mapping[key])) for key in sorted(mapping)), 1)}"
            )
    runtimes = ((name, _render_runtime(document.runtimes[name])) for name in sorted(document.runtimes))
    parts.append(f' "runtimes": {_render_lines(runtimes, 1)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _render_runtime(runtime: Runtime) -> str:
    fields = [("device", _encode(runtime.device)), ("platform", _encode(runtime.platform))]
    fields.append(("python", _encode(runtime.python)))
    if runtime.base:
        base = {"reference": runtime.base.reference, "digest": runtime.base.digest}
        fields.append(("base", _render_lines(((key, _encode(text)) for key, text in base.items()), 3)))
    fields.append(("requirements", _encode(runtime.requirements)))
    packages = ((name, _render_package(runtime.packages[name])) for name in sorted(runtime.packages))
    fields.append(("packages", _render_lines(packages, 3)))
    return _render_lines(fields, 2)


def _render_package(package: Wheels) -> str:
    wheels = _render_lines(((name, _encode(digest)) for name, digest in sorted(package.wheels.items())), 4)
    requires = _encode(sorted(package.requires))
    return f'{{"version": {_encode(package.version)}, "requires": {requires}, "wheels": {wheels}}}'


def _render_lines(items: Iterable[tuple[str, str]], depth: int) -> str:
    """Return an object with one line for each item; the line that closes it has ``depth`` spaces."""
    lines = [f"{' ' * (depth + 1)}{_encode(key)}: {text}" for key, text in items]
    return "{\n" + ",\n".join(lines) + f"\n{' ' * depth}}}" if lines else "{}"


def _encode(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
