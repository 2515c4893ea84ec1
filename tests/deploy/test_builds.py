"""What is read of a build is what its report says, and anything else is told with where and what to do."""

import json
from pathlib import Path
from typing import Any

import pytest
from deploying import DIGEST, LOAD, REPOSITORY, SMOKE, make_build, make_report, write_build

from onnxpack.core.errors import SpecError
from onnxpack.core.values import Axis, TensorInfo
from onnxpack.deploy import list_formats
from onnxpack.deploy.builds import read_build
from onnxpack.deploy.formats import Wanted, load_format
from onnxpack.deploy.sizing import Goals, make_sizing


def test_a_build_is_what_its_report_says(tmp_path: Path) -> None:
    build = make_build(tmp_path)
    assert (build.name, build.target, build.version, build.resource) == ("iris", "cpu", "1.0.0", "iris-cpu")
    assert build.inputs == (TensorInfo("float_input", "float32", ("batch", 4)),)
    assert build.axes == (Axis("batch", 1, 8, 1024),)
    assert build.batch == build.axes[0]
    assert str(build.pushed) == f"{REPOSITORY}@{DIGEST}"
    assert build.figures.load
    assert build.figures.load.capacity == 12000.0
    assert build.figures.peak_rss_bytes == 80_000_000, "that of the soak"
    assert build.figures.ready_seconds == 0.9


@pytest.mark.parametrize(
    ("smoke", "peak", "loaded"),
    [
        (None, None, False),
        (SMOKE | {"emulated": True}, None, False),
        (SMOKE | {"soak": None, "load": None}, 72_000_000, False),
        (SMOKE | {"soak": None, "peak_rss_bytes": None}, 70_800_000, True),
    ],
)
def test_figures_are_those_that_were_measured(tmp_path: Path, smoke: Any, peak: int | None, loaded: bool) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(make_report() | {"smoke": smoke}))
    figures = read_build(folder).figures
    assert (figures.peak_rss_bytes, figures.load is not None) == (peak, loaded)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "failed"}, "this build failed"),
        ({"serving": None}, "says nothing of how its image serves"),
        ({"version": None}, "not what a build leaves: Expected `str`, got `null`"),
        ({"model": {"axes": {"batch": {"min": 1, "opt": "x", "max": 2}}}}, r"not what a build leaves: Expected `int`"),
        ({"model": {"axes": None}}, "not what a build leaves"),
        ({"model": {"inputs": [{"name": "x"}]}}, "missing required field `dtype`"),
        ({"serving": {"ports": "8080"}}, "not what a build leaves: Expected `array`"),
        ({"smoke": {"load": {"cores": 1}}}, "missing required field"),
        ({"smoke": {"load": LOAD | {"points": [{}]}}}, "missing required field"),
        ({"smoke": []}, None),
        ({"image": {"pushed": "UPPER@x"}}, "is not the name of an image"),
    ],
)
def test_what_is_no_build_that_passed_is_told(tmp_path: Path, changes: dict[str, Any], words: str | None) -> None:
    folder = write_build(tmp_path, **changes)
    if words is None:
        assert read_build(folder).figures.load is None
        return
    with pytest.raises(SpecError, match=words):
        read_build(folder)


def test_a_folder_without_a_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="there is no report of a build here") as caught:
        read_build(tmp_path)
    assert caught.value.problems[0].hint == "run `onnxpack build` first"


def test_every_report_with_one_part_missing_or_of_another_kind_is_read_or_told(tmp_path: Path) -> None:
    """A report may come from anywhere."""

    def change(value: Any, path: tuple[Any, ...]) -> Any:
        if isinstance(value, dict):
            for key in value:
                yield (*path, key)
                yield from change(value[key], (*path, key))
        elif isinstance(value, list):
            for key, item in enumerate(value):
                yield from change(item, (*path, key))

    folder = write_build(tmp_path)
    told = 0
    for path in list(change(make_report(), ())):
        for new in (None, 0, -1, "x", [], 1e308):
            report = make_report()
            inner: Any = report
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = new
            (folder / "report.json").write_text(json.dumps(report))
            try:
                build = read_build(folder)
                sizing = make_sizing(build, Goals(100.0))
                for name in list_formats():
                    load_format(name).make(Wanted(build, sizing))
            except SpecError:
                told += 1
    assert told > 300
