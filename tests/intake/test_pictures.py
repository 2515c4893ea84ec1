"""The module's own pictures beside those of the training libraries."""

import io
import threading
from typing import Any

import numpy as np
import pytest
from picture_examples import FORMATS, WAYS, encode, load_reader, make_intake, render_pictures
from PIL import Image, ImageOps

from onnxpack.core.errors import GateError, SourceError
from onnxpack.intake import picture_reference
from onnxpack.intake.picture_reference import read_reference
from onnxpack.intake.pictures import compare_pictures

RANDOM = np.random.default_rng(7)
SIZES = ((1, 1), (1, 9), (2, 3), (32, 40), (31, 41), (64, 80), (96, 40), (200, 153), (9, 200))
WEIGHTS = (0.299, 0.587, 0.114)
FIT = {"size": (32, 40), "pad": (7, 8, 9), "fit": "contain"}
CHAINS: dict[str, list[dict[str, Any]]] = {
    "stretch": [{"size": (32, 40)}],
    "cover": [{"size": (32, 40), "fit": "cover"}],
    "contain": [FIT],
    "shorter": [{"size": (36,)}],
    "low": [{"size": (37,)}],
}
CROPS = {"shorter": "torchvision", "low": "transformers"}


def make_steps(like: str, method: str, chain: str) -> list[dict[str, Any]]:
    steps = [{"op": "resize", "like": like, "method": method, **fields} for fields in CHAINS[chain]]
    return [*steps, {"op": "crop", "size": (32, 40), "like": CROPS[chain]}] if chain in CROPS else steps


def make_noise(height: int, width: int, channels: int = 3) -> np.ndarray[Any, Any]:
    """Extremes beside each other, which show every rounding, and all values between."""
    noise = RANDOM.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return np.where(RANDOM.random((height, width, 1)) < 0.5, noise, noise // 128 * 255).astype(np.uint8)


@pytest.mark.parametrize(("like", "method"), WAYS)
def test_each_way_to_resize_is_the_librarys(like: str, method: str) -> None:
    intakes = [make_intake(*make_steps(like, method, chain), name=chain) for chain in CHAINS]
    read = load_reader(*intakes)
    most = 1 if (like, method) == ("opencv", "cubic") else 0  # where Intel's IPP rounds as it likes
    for height, width in SIZES:
        file = encode(make_noise(height, width))
        for intake in intakes:
            made, expected = read(intake.name, [file])[0], read_reference(intake, file)
            assert made.shape == expected.shape == (32, 40, 3)
            assert np.abs(made.astype(int) - expected).max() <= most, (height, width, intake.name)


@pytest.mark.parametrize(("like", "method"), WAYS)
def test_grey_pictures_of_floats_are_the_librarys_too(like: str, method: str) -> None:
    grey = {"op": "grayscale", "weights": WEIGHTS}
    resize = {"op": "resize", "like": like, "method": method, "size": (32, 40)}
    intake = make_intake(grey, resize, shape=(32, 40, 1), dtype="float32")
    read = load_reader(intake)
    for height, width in SIZES:
        file = encode(make_noise(height, width))
        made = read("image", [file])[0]
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, read_reference(intake, file), rtol=0, atol=2e-3)


@pytest.mark.parametrize("like", [None, "pillow", "opencv", "torchvision"])
def test_grey_is_the_librarys(like: str | None) -> None:
    intake = make_intake({"op": "grayscale", "like": like}, shape=("height", "width", 1))
    file = encode(RANDOM.integers(0, 256, (400, 300, 3), dtype=np.uint8))
    np.testing.assert_array_equal(load_reader(intake)("image", [file])[0], read_reference(intake, file))


def test_weights_are_not_rounded() -> None:
    intake = make_intake({"op": "grayscale", "weights": WEIGHTS}, shape=(1, 1, 1), dtype="float32")
    made = load_reader(intake)("image", [encode(np.array([[[10, 20, 31]]], np.uint8))])
    assert made.item() == np.float32(10 * 0.299 + 20 * 0.587 + 31 * 0.114)


def test_swap_gives_blue_first() -> None:
    intake = make_intake({"op": "swap"}, shape=(1, 1, 3))
    made = load_reader(intake)("image", [encode(np.array([[[10, 20, 31]]], np.uint8))])
    assert made.ravel().tolist() == [31, 20, 10]


@pytest.mark.parametrize("form", FORMATS[:3])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orient_turns_as_exif_transpose(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    file = encode(make_noise(5, 8), form, exif=exif)
    with Image.open(io.BytesIO(file)) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    intake = make_intake({"op": "orient"}, shape=("height", "width", 3), formats=FORMATS)
    np.testing.assert_array_equal(load_reader(intake)("image", [file])[0], expected)


def test_pictures_of_different_sizes_are_one_array() -> None:
    read = load_reader(make_intake({"op": "resize", "size": (8, 8)}))
    files = [encode(make_noise(height, width)) for height, width in SIZES]
    stacked = read("image", files)
    assert stacked.shape == (len(SIZES), 8, 8, 3)
    np.testing.assert_array_equal(stacked[3], read("image", [files[3]])[0])
    assert read("image", []).shape == (0, 32, 40, 3)


def test_pictures_that_are_not_resized_must_be_alike() -> None:
    read = load_reader(make_intake(shape=("height", "width", 3)))
    files = [encode(make_noise(4, 5)), encode(make_noise(4, 6))]
    with pytest.raises(ValueError, match=r"^input 'image', picture 1: it is 6 x 4, and picture 0 is 5 x 4; all must"):
        read("image", files)


def test_threads_may_read_at_once() -> None:
    intake = make_intake({"op": "resize", "size": (32, 40), "like": "opencv", "method": "area"})
    read = load_reader(intake)
    files = [encode(make_noise(200 + number, 150)) for number in range(8)]
    results: dict[int, Any] = {}
    threads = [
        threading.Thread(target=lambda number=number: results.__setitem__(number, read("image", [files[number]])[0]))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, file in enumerate(files):
        np.testing.assert_array_equal(results[number], read_reference(intake, file))


def test_figures_tell_how_near_the_module_is() -> None:
    intake = make_intake({"op": "orient"}, {"op": "resize", "size": (32, 40), "like": "opencv"}, formats=FORMATS)
    figures = compare_pictures(intake, render_pictures(intake))
    assert figures.largest == figures.differing == 0
    assert figures.pictures > 80
    assert figures.refused > 15
    assert figures.libraries == {
        "pillow": Image.__version__,
        "opencv": picture_reference.require_module("cv2").__version__,
    }


def break_text(texts: dict[str, str], old: str, new: str) -> dict[str, str]:
    broken = {name: text.replace(old, new) for name, text in texts.items()}
    assert broken != texts
    return broken


def test_other_pixels_fail_the_build_with_the_kind_of_picture() -> None:
    intake = make_intake({"op": "resize", "size": (32, 40)}, formats=("png",))
    texts = break_text(render_pictures(intake), "Resampling.BILINEAR", "Resampling.BICUBIC")
    with pytest.raises(GateError, match=r"input 'image': a png of 17 x 31 differs by \d+ of 255 from pillow"):
        compare_pictures(intake, texts)


def test_a_module_that_takes_bad_files_fails_the_build() -> None:
    intake = make_intake({"op": "resize", "size": (32, 40)}, formats=("bmp",))
    refusal = 'raise ValueError(f"it cannot be decoded: {error}") from error'
    texts = break_text(render_pictures(intake), refusal, 'return Image.new("RGB", (9, 9))')
    with pytest.raises(GateError, match="this is taken for a picture: bmp cut off in the middle"):
        compare_pictures(intake, texts)


def test_a_module_that_refuses_good_files_fails_the_build() -> None:
    intake = make_intake({"op": "resize", "size": (32, 40)}, formats=("bmp",))
    texts = break_text(render_pictures(intake), "MAX_SIDE = 2**16 - 1", "MAX_SIDE = 400")
    with pytest.raises(
        GateError, match="a bmp of 480 x 641 is refused: input 'image', picture 0: it declares 641 x 480"
    ):
        compare_pictures(intake, texts)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(picture_reference, "import_module", fail)
    with pytest.raises(SourceError, match=r"compared with OpenCV.*pip install 'onnxpack\[pictures\]'"):
        picture_reference.require_module("cv2")
