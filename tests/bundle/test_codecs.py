"""Pillow's libraries go where no declared format needs them; what stays decodes as before, and nothing crashes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features
from spared_pillow import PLUGINS, copy_pillow, run_python, spare_pillow

from onnxpack.bundle.codecs import CODECS, replace_codecs
from onnxpack.bundle.layer import LayerFile, Needs, Why
from onnxpack.bundle.symbols import read_symbols

FORMATS = {"a.jpg": "JPEG", "progressive.jpg": "JPEG", "cmyk.jpg": "JPEG", "rotated.jpg": "JPEG", "a.png": "PNG",
           "palette.png": "PNG", "a.webp": "WEBP", "lossless.webp": "WEBP", "a.bmp": "BMP"}  # fmt: skip
"""Pictures of formats that a spec can declare."""
OTHERS = ("plain.tif", "lzw.tif", "jpeg.tif", "a.jp2", "a.avif", "a.gif", "a.ppm")
LOOK = """
import hashlib, json, sys
from PIL import Image, ImageOps
answers = {}
for path in sys.argv[2:]:
    try:
        with Image.open(path, formats=sys.argv[1].split() or None) as picture:
            answers[path] = hashlib.sha256(ImageOps.exif_transpose(picture).convert("RGB").tobytes()).hexdigest()
    except Exception as error:
        answers[path] = type(error).__name__
print(json.dumps(answers))
"""
CALL = """
from PIL import Image
core, picture = Image.core, Image.new("RGB", (5, 3))
def decode(*arguments):
    decoder = getattr(core, arguments[0])(*arguments[1:])
    decoder.setimage(picture.im, (0, 0, 5, 3))
    return decoder.decode(bytes(range(100)))
for call in (lambda: core.grabscreen_x11(None), lambda: decode("libtiff_decoder", "RGB", "RGB", 0, 0),
             lambda: decode("jpeg2k_decoder", "RGB", "jp2", 0, 0, -1),
             lambda: decode("jpeg_decoder", "RGB", "RGB", "", 1, 0)):
    try:
        print(call())
    except OSError as error:
        print(type(error).__name__)
print(core.libtiff_version)
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture in each format."""
    folder = tmp_path_factory.mktemp("pictures")
    picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (17, 23, 3), np.uint8))
    exif = Image.Exif()
    exif[0x112] = 6
    options: dict[str, dict[str, Any]] = {
        "progressive.jpg": {"progressive": True}, "rotated.jpg": {"exif": exif}, "lossless.webp": {"lossless": True},
        "lzw.tif": {"compression": "tiff_lzw"}, "jpeg.tif": {"compression": "jpeg"},
    }  # fmt: skip
    for name in (*FORMATS, *OTHERS):
        if name == "a.avif" and not features.check("avif"):
            continue
        changed = {"cmyk.jpg": "CMYK", "palette.png": "P"}.get(name)
        (picture.convert(changed) if changed else picture).save(folder / name, **options.get(name, {}))
    return folder


@pytest.fixture(scope="module")
def spared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, LayerFile]]:
    """Pillow for all formats that a spec can declare."""
    folder = copy_pillow(tmp_path_factory.mktemp("pillow"))
    return folder, {file.path: file for file in spare_pillow(folder, PLUGINS)}


def look(folder: Path, pictures: Path, formats: str) -> dict[str, str]:
    """Return a digest of the pixels of each picture, or the name of the error, as Pillow in a folder has it."""
    plugins = f"from PIL import {', '.join(name for name in PLUGINS if (folder / f'PIL/{name}.py').exists())}"
    paths = sorted(pictures.iterdir())
    done = run_python(folder, "-c", f"{plugins}{LOOK}", formats, *map(str, paths))
    assert done.returncode == 0, done.stderr
    return {Path(path).name: answer for path, answer in json.loads(done.stdout).items()}


def test_declared_formats_decode_as_before_and_others_are_refused(
    spared: tuple[Path, dict[str, LayerFile]], pictures: Path
) -> None:
    answers = look(spared[0], pictures, " ".join(set(FORMATS.values())))
    for name in FORMATS:
        with Image.open(pictures / name) as picture:
            turned = picture.transpose(Image.Transpose.ROTATE_270) if name == "rotated.jpg" else picture
            assert answers[name] == hashlib.sha256(turned.convert("RGB").tobytes()).hexdigest(), name
    assert {answers[name] for name in answers.keys() - FORMATS.keys()} == {"UnidentifiedImageError"}
    # Also where nothing says what is taken: nothing that is left can be crashed by a file.
    anything = look(spared[0], pictures, "")
    assert anything["lzw.tif"] == anything["jpeg.tif"] == "OSError"
    assert anything["a.jp2"] == anything["a.gif"] == "UnidentifiedImageError"


@pytest.mark.parametrize(
    ("plugins", "formats"),
    [(["JpegImagePlugin"], {"JPEG"}), (["WebPImagePlugin", "PngImagePlugin"], {"WEBP", "PNG"})],
)
def test_a_format_that_is_not_declared_is_not_there(
    tmp_path: Path, pictures: Path, plugins: list[str], formats: set[str]
) -> None:
    folder = copy_pillow(tmp_path)
    spare_pillow(folder, plugins)
    answers = look(folder, pictures, " ".join(formats))
    assert {name for name, answer in answers.items() if len(answer) == 64} == {
        name for name, one in FORMATS.items() if one in formats
    }
    assert ("JPEG" in formats) == any(path.stat().st_size > 100_000 for path in folder.glob("pillow.libs/libjpeg-*"))
    assert ("WEBP" in formats) == bool([*folder.glob("pillow.libs/libwebp*")])


def test_functions_of_stubs_may_be_called(tmp_path: Path) -> None:
    folder = copy_pillow(tmp_path)
    spare_pillow(folder, ["PngImagePlugin"])
    done = run_python(folder, "-c", CALL)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["OSError", "(-1, -2)", "(-1, -2)", "(0, 0)", "none: a stub"]


def test_the_listing_tells_of_each_file_what_became_of_it(spared: tuple[Path, dict[str, LayerFile]]) -> None:
    folder, files = spared
    there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert {name for name, file in files.items() if file.kept} == set(there)
    assert all(there[name].stat().st_size == file.size_bytes for name, file in files.items() if file.kept)
    found = {name.rpartition("/")[2].partition("-")[0]: file for name, file in files.items() if "pillow.libs" in name}
    core = next(name for name in files if name.startswith("PIL/_imaging.c"))
    words = "a stub in the place of a library for TIFF files, which this image does not take; linked by"
    assert found["libtiff"].why == Why(words, core)
    assert found["libXau"].why == Why("only a library that a stub took the place of linked it:", found["libxcb"].path)
    assert found["libjpeg"].why == Why("linked by", core)
    assert files["PIL/GifImagePlugin.py"].why.how.startswith("a module of an image imports the formats that it takes")
    assert sum(file.size_bytes for file in files.values() if file.kept) < 4_000_000


def test_stubs_have_what_is_asked_of_them_and_in_which_version(spared: tuple[Path, dict[str, LayerFile]]) -> None:
    (core,) = spared[0].glob("PIL/_imaging.c*.so")
    needed = read_symbols(core)
    for codec in CODECS:
        (library,) = spared[0].glob(f"pillow.libs/{codec.name}-*")
        versions = {symbol: version for symbol, name, version in needed.versions if name == library.name}
        if codec.name != "libjpeg":
            assert versions.keys() <= read_symbols(library).defined <= needed.undefined
        assert all(version.encode() in library.read_bytes() for version in versions.values())


def test_pillow_that_a_user_asks_for_stays_whole(spared: tuple[Path, dict[str, LayerFile]]) -> None:
    whole = Needs((), (("pillow", "image.requirements"),))
    files = tuple(spared[1].values())
    before = {path: path.read_bytes() for path in spared[0].glob("pillow.libs/*")}
    assert replace_codecs(spared[0], files, whole) == files
    assert {path: path.read_bytes() for path in spared[0].glob("pillow.libs/*")} == before
