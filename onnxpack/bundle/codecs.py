"""Spares images the libraries behind Pillow that no picture needs: tiny ones take their places, which do nothing.

Pillow's core links libraries for TIFF, JPEG 2000, JPEG and screens, and does not load without them. Which formats an
image takes is known when it is built, and its module opens no other: what would decode them is never called.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.bundle.layer import LayerFile, Needs, Why
from onnxpack.bundle.openblas import remove_unlinked
from onnxpack.bundle.stubs import Constant, make_stub
from onnxpack.bundle.symbols import read_links, read_symbols

PACKAGE, FOLDER = "pillow", "pillow.libs"
"""The distribution, and where its wheels have the libraries that they bring."""


@dataclass(frozen=True)
class Codec:
    """A library of Pillow's wheels.

    Attributes:
        name: the beginning of its files' names.
        purpose: what Pillow calls it for.
        caller: the module of Pillow that makes it be called; empty if none that an image has does.
        constants: what its functions return where 0 would not do.
    """

    name: str
    purpose: str
    caller: str
    constants: tuple[tuple[str, Constant], ...] = ()


CODECS = (
    # The module for TIFF stays for EXIF, whose layout is that of TIFF; it reads that without the library.
    Codec("libtiff", "TIFF files", "", (("TIFFGetVersion", b"none: a stub"),)),
    Codec("libopenjp2", "JPEG 2000 files", "PIL/Jpeg2KImagePlugin.py", (("opj_version", b"none: a stub"),)),
    # Pillow takes a connection without an error for one that it can ask.
    Codec("libxcb", "pictures of screens", "PIL/ImageGrab.py", (("xcb_connection_has_error", 1),)),
    Codec("libjpeg", "JPEG files", "PIL/JpegImagePlugin.py"),
)


def replace_codecs(folder: Path, files: Sequence[LayerFile], needs: Needs) -> tuple[LayerFile, ...]:
    """Put stubs in the places of libraries that no module of a pruned layer calls; return its files as they then are.

    A library stays where its caller is kept; all stay where Pillow is kept whole. What a replaced library alone linked
    goes.

    Raises:
        EngineError: a file that another one links is no shared library.
        OSError: a file cannot be read or replaced.
    """
    if PACKAGE in dict(needs.whole):
        return tuple(files)
    kept = {file.path for file in files if file.kept}
    listing = {file.path: file for file in files}
    libraries = [folder / path for path in sorted(kept) if ".so" in path and path.startswith(("PIL/", f"{FOLDER}/"))]
    links = {path: read_links(path) for path in libraries}
    for codec in CODECS:
        if codec.caller in kept:
            continue
        for path in [path for path in links if path.parent.name == FOLDER and path.name.startswith(f"{codec.name}-")]:
            before = set(links)
            _put_stub(path, links, dict(codec.constants))
            remove_unlinked(path, links)
            name = path.relative_to(folder).as_posix()
            words = f"a stub in the place of a library for {codec.purpose}, which this image does not take; linked by"
            listing[name] = replace(listing[name], size_bytes=path.stat().st_size, why=Why(words, listing[name].why.by))
            for gone in before - set(links):
                other = gone.relative_to(folder).as_posix()
                why = Why("only a library that a stub took the place of linked it:", name)
                listing[other] = replace(listing[other], kept=False, why=why)
    return tuple(listing[file.path] for file in files)


def _put_stub(path: Path, links: dict[Path, frozenset[str]], constants: dict[str, Constant]) -> None:
    """Replace the library ``path`` by a stub with all that those which link it need of it."""
    theirs = read_symbols(path)
    asked: dict[str, str] = {}
    for user in [user for user, names in links.items() if path.name in names]:
        needed = read_symbols(user)
        asked |= dict.fromkeys(needed.undefined & theirs.defined, "")
        asked |= {symbol: version for symbol, library, version in needed.versions if library == path.name}
    path.unlink()  # another name of the file may be in an installer's cache
    path.write_bytes(make_stub(theirs.machine, path.name, asked, constants))
