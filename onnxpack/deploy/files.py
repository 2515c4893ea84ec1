"""Write manifests, and tell those that people changed from those that are as they were made.

The first line of each text has a digest of the rest, in which the digests of images do not count: those are what
``onnxpack manifests --update`` changes. A file whose rest has another digest, or that has no such line, is a person's.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from onnxpack.core.digests import digest_file
from onnxpack.core.errors import EngineError, Location, Problem, SpecError
from onnxpack.core.regular import read_regular
from onnxpack.core.scratch import replace_file, working_folder
from onnxpack.deploy.formats import Manifests

LARGEST = 4 * 2**20
"""The bytes of a text that is read: anybody may have put anything in its place."""
_WORDS = "# Made by onnxpack manifests, which leaves this file alone once it is changed by hand:"
_FIRST = re.compile(rf"{re.escape(_WORDS)} ([0-9a-f]{{16}})\n")
_IMAGE = re.compile(r"sha256:[0-9a-f]{64}")


def sign(text: str) -> str:
    """Return a text behind the line that tells what it was."""
    return f"{_WORDS} {_digest(text)}\n{text}"


def is_unchanged(text: str) -> bool:
    """Return whether a signed text is as it was made, but for the digests of images."""
    found = _FIRST.match(text)
    return bool(found and _digest(text[found.end() :]) == found[1])


def write_manifests(output: Path, made: Iterable[Manifests], *, force: bool) -> list[Path]:
    """Write the files of several builds below a folder; return those that were not there yet as they are now.

    ``force`` also overwrites what people changed.

    Raises:
        SpecError: two builds have one file, or people changed one; nothing is written then.
    """
    places: dict[Path, str | Path] = {}
    for one in made:
        contents: dict[str, str | Path] = {name: sign(text) for name, text in one.texts.items()} | dict(one.copies)
        for name, content in contents.items():
            path = output / one.folder / name
            if path in places:
                hint = "name one of the builds, or take an output folder for each"
                raise SpecError(Problem("two builds would make this file", hint, Location(str(path))))
            places[path] = content
    changed = [] if force else [path for path, content in places.items() if _was_changed(path, content)]
    if changed:
        hint = "keep your changes in an overlay or another file, and remove it; or give --force, and lose them"
        words = "it was changed by hand, or is not onnxpack's"
        raise SpecError([Problem(words, hint, Location(str(path))) for path in changed])
    return [path for path, content in places.items() if _write(path, content)]


def _was_changed(path: Path, content: str | Path) -> bool:
    """Return whether a person has changed a text; models are no texts, and nobody edits them."""
    if isinstance(content, Path) or not (path.exists() or path.is_symlink()):
        return False
    text = _read(path)
    return text is None or (text != content and not is_unchanged(text))


def _read(path: Path) -> str | None:
    """Return a text that is there; None of what is none."""
    try:
        return read_regular(path, LARGEST).decode()
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: Path, content: str | Path) -> bool:
    """Let a file appear whole; return whether it was not there already."""
    if isinstance(content, Path):
        if path.is_file() and digest_file(path) == digest_file(content):
            return False
        replace_contents(path, _read_chunks(content))
        return True
    if _read(path) == content:
        return False
    replace_contents(path, [content.encode()])
    return True


def replace_contents(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file beside its place, and let it take the place.

    Raises:
        EngineError: something else than a file is there.
    """
    if path.is_dir():
        raise EngineError(f"a file belongs at '{path}', and a folder is there", "remove it")
    with working_folder(path.parent) as work:
        fresh = work / "new"
        with fresh.open("wb") as stream:
            stream.writelines(chunks)
        if path.is_file():
            fresh.chmod(path.stat().st_mode & 0o777)
        replace_file(fresh, path)


def _read_chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(2**20):
            yield chunk


def _digest(text: str) -> str:
    return hashlib.sha256(_IMAGE.sub("sha256:", text).encode()).hexdigest()[:16]
