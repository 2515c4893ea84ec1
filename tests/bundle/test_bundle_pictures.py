"""The lines that a picture's steps become, and that all that is rendered for them is clean and typed."""

import subprocess
import sys
from pathlib import Path

import pytest
from picture_examples import FORMATS, WAYS, make_intake, render_pictures

from onnxpack.bundle.pictures import PictureView

WEIGHED = {"op": "grayscale", "weights": (0.5, 0.25, 0.25)}
RESIZE = {"op": "resize", "size": (32, 40)}
ORIENT = {"op": "orient"}
SWAP = {"op": "swap"}
CROP = {"op": "crop", "size": (9, 9)}


@pytest.mark.parametrize(
    ("steps", "lines"),
    [
        ([], ["picture = to_rgb(picture)", "return to_array(picture)"]),
        (
            [ORIENT, RESIZE],
            [
                "picture = orient(picture)",
                "picture = to_rgb(picture)",
                "picture = picture.resize((40, 32), Image.Resampling.BILINEAR)",
                "return to_array(picture)",
            ],
        ),
        (
            [SWAP, RESIZE],
            [
                "picture = to_rgb(picture)",
                "pixels = to_array(picture)",
                "pixels = pixels[..., ::-1]",
                "picture = to_picture(pixels)",
                "picture = picture.resize((40, 32), Image.Resampling.BILINEAR)",
                "return to_array(picture)",
            ],
        ),
        (
            [WEIGHED, {**RESIZE, "like": "opencv", "method": "area"}],
            [
                "picture = to_rgb(picture)",
                "pixels = to_array(picture)",
                "pixels = mix_channels(pixels, (0.5, 0.25, 0.25))",
                "return resampling.opencv_area(pixels, 32, 40)",
            ],
        ),
    ],
)
def test_steps_are_lines_of_python(steps: list[dict[str, object]], lines: list[str]) -> None:
    assert list(PictureView.of(make_intake(*steps)).lines) == lines


def test_an_image_has_only_what_its_steps_need() -> None:
    text = render_pictures(make_intake(RESIZE, formats=("png",)))
    assert list(text) == ["pictures.py"]
    for word in ("Jpeg", "WebP", "Bmp", "ImageOps", "orient", "crop", "resampling", "MAX_SCANS"):
        assert word not in text["pictures.py"]


def test_plain_defaults() -> None:
    view = PictureView.of(make_intake())
    assert (view.formats, view.max_pixels, view.functions) == (("jpeg", "png"), 32_000_000, ())


def check(folder: Path, *arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", *arguments, "."], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def write(folder: Path, texts: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder


def test_everything_that_is_rendered_is_clean_and_typed(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    fits = [{}, {"fit": "cover"}, {"fit": "contain", "pad": (1, 2, 3)}]
    every = [
        make_intake(ORIENT, {**RESIZE, "like": like, "method": method, **fit}, name=f"{like} {method} {number}")
        for like, method in WAYS
        for number, fit in enumerate(fits)
    ]
    greys = [{"op": "grayscale", "like": like} for like in (None, "opencv", "torchvision")]
    every += [
        make_intake(grey, CROP, name=f"grey {number}", formats=FORMATS) for number, grey in enumerate([*greys, WEIGHED])
    ]
    every += [
        make_intake(SWAP, {"op": "resize", "size": (9,), "like": like}, CROP, name=f"{like}")
        for like in ("pillow", "opencv")
    ]
    whole = write(tmp_path / "all", render_pictures(*every))
    for like, method in WAYS:
        write(tmp_path / f"{like}-{method}", render_pictures(make_intake({**RESIZE, "like": like, "method": method})))
    for form in FORMATS:
        write(tmp_path / form, render_pictures(make_intake(formats=(form,))))
    rules = "--select=E,F,W,I,N,UP,B,SIM,RUF,PTH,D,C4,RET", "--ignore=D105,D107,D203,D205,D212,D213,D301,D401"
    for folder in tmp_path.iterdir():
        check(
            folder, "ruff", "check", "--isolated", "--line-length=110", "--no-cache", *rules, "--target-version=py311"
        )
        check(folder, "ruff", "format", "--check", "--isolated", "--line-length=110", "--no-cache")
    cache = pytestconfig.rootpath / ".mypy_cache" / "generated"
    check(whole, "mypy", "--strict", "--disable-error-code=import-untyped", "--config-file=", f"--cache-dir={cache}")
