"""Rules on where a source model comes from: its URL, and the packages of its own environment."""

import re
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import get_args
from urllib.parse import urlsplit

from onnxpack.core.errors import Location, Problem
from onnxpack.core.package_names import pinned_name
from onnxpack.core.redact import find_secret
from onnxpack.spec.field_types import CodeReference
from onnxpack.spec.messages import short
from onnxpack.spec.model import Spec

Where = Callable[..., Location]

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(text: str) -> bool:
    """Whether a field's text names something to fetch, and not a file beside the spec."""
    return _URL.match(text) is not None


def is_code(text: str) -> bool:
    """Whether a field's text names code, as FILE.py:NAME or package.module:NAME, and not a file beside the spec."""
    return not is_url(text) and re.fullmatch(get_args(CodeReference)[1].regex, text) is not None


def code_file(text: str | None) -> str | None:
    """The file beside the spec that a reference to code names, if it names one."""
    place = (text or "").partition(":")[0]
    return place if text and place.endswith(".py") and is_code(text) else None


def data_file(data: str | None) -> str | None:
    """The file beside the spec that data for calibration or evaluation comes from, if it comes from one."""
    return code_file(data) if data is None or is_code(data) else data


def file_name(text: str) -> str:
    """The last part of a path or a URL, which tells the format."""
    return PurePosixPath(urlsplit(text).path if is_url(text) else text).name


def shown(text: str) -> str:
    """A path, or a URL without what may be secret in it."""
    if not is_url(text):
        return short(text)
    parts = urlsplit(text)
    return short(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


def remote(spec: Spec, where: Where) -> Iterator[Problem]:
    """What is fetched is known by its digest, and its URL holds no secret."""
    if spec.model.sha256 is not None and spec.model.path is None and spec.model.weights_file is None:
        hint = "it is the digest of the file in path or weights: remove it"
        yield Problem("model.sha256 means nothing without a file", hint, where("model", "sha256"))
    for field, url in (("path", spec.model.path), ("weights", spec.model.weights_file)):
        if url is None or not is_url(url):
            continue
        place = where("model", field)
        try:
            yield from _url(url, place)
        except ValueError as error:
            yield Problem(f"not a URL: {error}", "correct it", place)
            continue
        if spec.model.sha256 is None:
            hint = "add `sha256:` to the model; sha256sum prints it for a file that you trust"
            yield Problem(f"what '{shown(url)}' gives may change, so its digest is required", hint, place)


def _url(url: str, place: Location) -> Iterator[Problem]:
    parts = urlsplit(url)
    if secret := find_secret(url):
        hint = "give credentials in the environment, in ~/.netrc, or in the storage's own configuration"
        yield Problem(f"'{shown(url)}' holds a secret in {secret}, and a spec is read by many", hint, place)
    if "::" in url:
        yield Problem("a URL names one file, not a chain", "give the file's own URL", place)
    if file_name(url) in ("", "..") or (parts.scheme in ("http", "https") and not parts.hostname):
        yield Problem(f"'{shown(url)}' names no file", "end it with the file's name", place)
    if parts.scheme == "file" and parts.netloc:
        yield Problem("a file: URL has no host", "write file:///folder/name", place)


def pins(spec: Spec, where: Where) -> Iterator[Problem]:
    """Each package is pinned once."""
    seen: dict[str, str] = {}
    for index, pin in enumerate(spec.model.requirements):
        name = pinned_name(pin)
        first = seen.setdefault(name, pin)
        if first is not pin:
            yield Problem(f"'{name}' is pinned twice", f"'{first}' stands above; keep one",
                          where("model", "requirements", index))  # fmt: skip
