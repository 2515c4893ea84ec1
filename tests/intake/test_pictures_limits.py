"""What the rendered module refuses, with what words, and that nothing else than a ValueError comes of a picture."""

import resource
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from picture_examples import FORMATS, encode, load_reader, make_intake
from PIL import Image

from benchmarks.inputs.pictures import make_pictures, make_reader, throw
from onnxpack.intake.picture_files import make_bad_files

RESIZE = {"op": "resize", "size": (8, 8)}
GREEN = np.full((50, 60, 3), (10, 200, 90), np.uint8)


def refuse(file: bytes, *steps: dict[str, Any], **decode: Any) -> str:
    """Return why a picture is refused."""
    read = load_reader(make_intake(*(steps or [RESIZE]), shape=(8, 8, 3), **decode))
    with pytest.raises(ValueError, match=r"^input 'image', picture 1: ") as caught:
        read("image", [encode(GREEN, (decode.get("formats") or ["png"])[0]), file])
    text = str(caught.value)
    assert "\n" not in text
    return text.partition("picture 1: ")[2]


@pytest.mark.parametrize("form", FORMATS)
def test_formats_that_are_not_declared_are_refused(form: str) -> None:
    others = tuple(other for other in FORMATS if other != form)
    message = refuse(encode(GREEN, form), formats=others)
    assert message == f"it must be a picture in the format {' or '.join(others)}"


@pytest.mark.parametrize("form", ["gif", "tiff", "ppm", "ico", "tga", "pcx"])
def test_what_pillow_could_read_besides_is_refused(form: str) -> None:
    assert refuse(encode(GREEN, form), formats=FORMATS).startswith("it must be a picture in the format")


@pytest.mark.parametrize("form", FORMATS)
def test_a_bomb_is_refused_before_it_is_decoded(form: str) -> None:
    (bomb,) = (file.data for file in make_bad_files((form,)) if "declares" in file.kind)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = refuse(bomb, formats=(form,))
    size = "16384 x 16384" if form == "webp" else "60000 x 60000"
    assert message == f"it declares {size} pixels; at most 32,000,000 are taken, and 65,535 in a row or column"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024


@pytest.mark.parametrize("form", FORMATS)
def test_the_specs_limit_holds(form: str) -> None:
    read = load_reader(make_intake(RESIZE, shape=(8, 8, 3), formats=(form,), max_pixels=3000))
    assert read("image", [encode(GREEN, form)]).shape == (1, 8, 8, 3)
    with pytest.raises(ValueError, match=r"declares 61 x 50 pixels; at most 3,000 are taken"):
        read("image", [encode(np.zeros((50, 61, 3), np.uint8), form)])


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_is_cut_off_is_refused(form: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    whole = encode(noise, form)
    for end in (0, 1, 15, 30, len(whole) // 2, len(whole) - 60):
        assert refuse(whole[:end], formats=(form,))


def test_a_jpeg_of_many_scans_is_refused() -> None:
    whole = encode(GREEN, "jpeg", progressive=True)
    at = whole.rfind(b"\xff\xda")
    many = whole[:at] + whole[at:-2] * 100 + b"\xff\xd9"
    assert refuse(many, formats=("jpeg",)) == "it has more than 100 scans"


def test_a_large_bmp_of_runs_is_refused() -> None:
    head = struct.pack("<IiiHHIIiiII", 40, 3000, 2000, 1, 8, 1, 2, 0, 0, 256, 0)
    file = struct.pack("<2sIHHI", b"BM", 1080, 0, 0, 1078) + head + bytes(1024) + b"\0\1"
    assert "at most 4,194,304 are taken" in refuse(file, formats=("bmp",))


def test_a_text_that_unpacks_to_much_is_refused() -> None:
    whole = encode(GREEN)
    text = b"zTXta\0\0" + zlib.compress(bytes(2**24))
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    assert refuse(whole[:33] + chunk + whole[33:])


def test_a_narrow_picture_that_would_become_huge_is_refused() -> None:
    narrow = encode(np.zeros((1, 60_000, 3), np.uint8))
    crop = {"op": "crop", "size": (8, 8)}
    for like in ("pillow", "opencv", "torchvision"):
        shorter = {"op": "resize", "size": (256,), "like": like}
        assert refuse(narrow, shorter, crop) == "it is too narrow: resized, it would have 3,932,160,000 pixels"
    cover = {"op": "resize", "size": (300, 300), "like": "opencv", "fit": "cover"}
    assert "too narrow" in refuse(narrow, cover, crop)


def test_a_broken_exif_is_refused_by_orient_alone() -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    whole = encode(GREEN, "webp", exif=exif)
    at = whole.index(b"EXIF") + 8
    at += 6 * whole.startswith(b"Exif", at)
    broken = whole[:at] + b"??" + whole[at + 2 :]
    read = load_reader(make_intake(RESIZE, shape=(8, 8, 3), formats=("webp",)))
    assert read("image", [broken]).shape == (1, 8, 8, 3)
    assert "EXIF cannot be read" in refuse(broken, {"op": "orient"}, RESIZE, formats=("webp",))


def test_only_value_errors_come_of_broken_pictures() -> None:
    tally = throw(make_reader(), make_pictures(3, 300))
    assert tally.failures == []
    assert sum(tally.outcomes.values()) == 300
    assert min(tally.outcomes["read"], tally.outcomes["refused"]) > 20


def test_a_fault_of_the_module_is_told() -> None:
    def fail(name: str, files: object) -> None:
        raise MemoryError

    tally = throw(fail, iter([b"", b""]))
    assert len(tally.failures) == 2


def test_what_lies_behind_a_jpegs_end_is_no_scan() -> None:
    whole = encode(GREEN, "jpeg")
    profile = b"\xff\xe2" + struct.pack(">H", 402) + b"\xff\xda" * 200
    moving = whole[:2] + profile + whole[2:] + b"\xff\xda\0\x04\0\0" * 500  # as telephones append films
    read = load_reader(make_intake(RESIZE, shape=(8, 8, 3)))
    np.testing.assert_array_equal(read("image", [moving]), read("image", [whole]))


def test_a_small_limit_does_not_bound_what_a_picture_is_made() -> None:
    shorter = {"op": "resize", "size": (100,)}
    read = load_reader(make_intake(shorter, {"op": "crop", "size": (8, 8)}, shape=(8, 8, 3), max_pixels=3000))
    assert read("image", [encode(GREEN)]).shape == (1, 8, 8, 3)
