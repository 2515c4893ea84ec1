"""Rules on what comes from elsewhere: a source model's URL, and the packages of its environment and of the image."""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import get_args
from urllib.parse import urlsplit

from onnxpack.core.errors import Location, Problem
from onnxpack.core.package_names import normalize_name, parse_pin_name
from onnxpack.core.redact import find_secret
from onnxpack.spec.field_types import CodeReference
from onnxpack.spec.messages import shorten
from onnxpack.spec.model import Spec
from onnxpack.targets import load_device

Where = Callable[..., Location]

_RUNTIMES = {True: "onnxruntime-gpu", False: "onnxruntime"}
"""The distribution of onnxruntime by whether its device is a GPU; both fill one folder."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(text: str) -> bool:
    """Return whether a field's text is a URL to download, and not the path of a file."""
    return _URL.match(text) is not None


def is_code(text: str) -> bool:
    """Return whether a field's text names code, as FILE.py:NAME or package.module:NAME, and not a file of data."""
    return not is_url(text) and re.fullmatch(get_args(CodeReference)[1].regex, text) is not None


def find_code_file(text: str | None) -> str | None:
    """Return the path of the file in a reference to code, or None if it names a package or nothing."""
    place = (text or "").partition(":")[0]
    return place if text and place.endswith(".py") and is_code(text) else None


def find_data_file(data: str | None) -> str | None:
    """Return the path of the file that calibration or evaluation data comes from, if it comes from one."""
    return find_code_file(data) if data is None or is_code(data) else data


def get_file_name(text: str) -> str:
    """Return the last part of a path or a URL, whose ending tells the format."""
    return PurePosixPath(urlsplit(text).path if is_url(text) else text).name


def format_source(text: str) -> str:
    """Return a path, or a URL without its login and parameters, shortened for a message."""
    if not is_url(text):
        return shorten(text)
    parts = urlsplit(text)
    return shorten(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def check_url(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that a URL has a digest beside it and no secret in it."""
    if spec.model.sha256 is not None and spec.model.path is None and spec.model.weights_file is None:
        hint = "remove it, or set `path` or `weights`, whose digest it is"
        yield Problem("model.sha256 is set, and no file", hint, where("model", "sha256"))
    for field, url in (("path", spec.model.path), ("weights", spec.model.weights_file)):
        if url is None or not is_url(url):
            continue
        place = where("model", field)
        try:
            yield from _check_url(url, place)
        except ValueError as error:
            yield Problem(f"not a URL: {error}", "correct the URL", place)
            continue
        if spec.model.sha256 is None:
            hint = "add `sha256: …` to `model`; `sha256sum FILE` prints it for a copy that you trust"
            yield Problem(f"what '{format_source(url)}' gives may change, so its digest is required", hint, place)


def _check_url(url: str, place: Location) -> Iterator[Problem]:
    parts = urlsplit(url)
    if secret := find_secret(url):
        hint = "put credentials into the environment, ~/.netrc or the storage's own configuration"
        yield Problem(f"'{format_source(url)}' holds a secret in {secret}, and a spec is read by many", hint, place)
    if "::" in url:
        yield Problem("chained URLs (`::`) are not supported", "use the URL of the file itself", place)
    if get_file_name(url) in ("", "..") or (parts.scheme in ("http", "https") and not parts.hostname):
        yield Problem(f"'{format_source(url)}' names no file", "end it with the file's name", place)
    if parts.scheme == "file" and parts.netloc:
        yield Problem("a file: URL has no host", "use file:///folder/name", place)


def check_pins(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that each package is pinned once."""
    seen: dict[str, str] = {}
    for index, pin in enumerate(spec.model.requirements):
        name = parse_pin_name(pin)
        first = seen.setdefault(name, pin)
        if first is not pin:
            yield Problem(f"'{name}' is pinned twice", f"'{first}' is above it: remove one",
                          where("model", "requirements", index))  # fmt: skip


def check_image_packages(spec: Spec, where: Where) -> Iterator[Problem]:
    """Check that what ``image.requirements`` asks for is well written, each once, and fits the targets' devices."""
    if not spec.image.requirements:
        return
    # Not above: the environment of a source model, where this module is imported too, has no such package.
    from packaging.requirements import InvalidRequirement, Requirement

    seen: dict[str, str] = {}
    foreign = {_RUNTIMES[not load_device(target.device).gpu] for target in spec.targets.values()}
    for index, line in enumerate(spec.image.requirements):
        place = where("image", "requirements", index)
        try:
            name = normalize_name(Requirement(line).name)
        except InvalidRequirement as error:
            words = str(error).partition("\n")[0]
            yield Problem(f"'{line}' is not a requirement: {words}", "write it as prometheus-client>=0.21", place)
            continue
        first = seen.setdefault(name, line)
        if first is not line:
            yield Problem(f"'{name}' is required twice", f"'{first}' is above it: write both in one line", place)
        if name in foreign:
            hint = "remove it: each target's device brings its own onnxruntime"
            yield Problem(f"'{name}' does not go together with the onnxruntime of a target", hint, place)
