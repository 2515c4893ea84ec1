"""Building again: what is done is not done twice, and the same spec gives the same bytes wherever it is built."""

import getpass
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from e2e_tools import LABEL, STAGES, Built, Workshop, contents, traces


@pytest.fixture(scope="session")
def elsewhere(workshop: Workshop) -> dict[str, Any]:
    """Another user, as far as a process can see: home, names, time zone, language, hash seed."""
    home = workshop.root / "home-of-zebedee"
    home.mkdir()
    # uv's downloads are the only thing that both share; their bytes are pinned by the lock.
    downloads = subprocess.run([_uv(), "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    return {
        "HOME": str(home),
        "USER": "zebedee",
        "LOGNAME": "zebedee",
        "UV_CACHE_DIR": downloads,
        "PYTHONHASHSEED": "4711",
        "TZ": "Pacific/Chatham",
        "LC_ALL": "C",
        "SOURCE_DATE_EPOCH": "1000000000",
    }


def _uv() -> str:
    from uv import find_uv_bin

    return find_uv_bin()


def _build_elsewhere(workshop: Workshop, elsewhere: dict[str, str], example: str, *options: str) -> Built:
    """Of another copy, with another umask, into another folder; nothing is taken that stands."""
    spec = workshop.copy(example, "elsewhere")
    for path in spec.parent.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before = os.umask(0o077)
    try:
        return workshop.build(spec, Path(elsewhere["HOME"]) / "dist", "--no-cache", *options, **elsewhere)
    finally:
        os.umask(before)


@pytest.fixture(scope="session")
def iris_elsewhere(workshop: Workshop, elsewhere: dict[str, str], iris: Built) -> Built:
    return _build_elsewhere(workshop, elsewhere, "iris")


def test_nothing_to_do_is_not_done(iris: Built, workshop: Workshop, engine: Any) -> None:
    before, report = contents(iris.context), iris.report
    _, tags = traces(engine, workshop.token)
    images = _all_images(engine, workshop)

    again = workshop.build(iris.spec, workshop.root / "dist")

    assert again.result.out == iris.result.out
    assert again.stages == [(name, True) for name in STAGES]
    assert [stage["key"] for stage in again.report["stages"]] == [stage["key"] for stage in report["stages"]]
    assert {**again.report, "stages": None} == {**report, "stages": None}
    assert contents(again.context) == before
    assert traces(engine, workshop.token) == ([], tags)
    assert _all_images(engine, workshop) == images


def _all_images(engine: Any, workshop: Workshop) -> set[str]:
    """Those without a name as well."""
    return set(engine.images(filters={"label": f"{LABEL}={workshop.token}"}, quiet=True, all=True))


def test_building_all_of_it_again_takes_nothing(iris: Built, iris_elsewhere: Built) -> None:
    """From the store or from the engine."""
    assert [stage["name"] for stage in iris_elsewhere.report["stages"] if stage["cached"]] == []
    assert iris_elsewhere.report["image"]["id"] != iris.report["image"]["id"]


def test_another_machine_gives_the_same_layers(iris: Built, iris_elsewhere: Built) -> None:
    assert iris_elsewhere.layers == iris.layers
    assert contents(iris_elsewhere.context) == contents(iris.context)
    assert contents(iris_elsewhere.output)["model.onnx"] == contents(iris.output)["model.onnx"]
    names = [built.report["image"]["references"] for built in (iris, iris_elsewhere)]
    assert [name.rpartition(":")[2] for name in names[0]] == [name.rpartition(":")[2] for name in names[1]]


@pytest.mark.parametrize("example", ["digits", "transactions"])
def test_another_machine_exports_the_same_model(
    example: str, workshop: Workshop, elsewhere: dict[str, str], request: pytest.FixtureRequest
) -> None:
    here: Built = request.getfixturevalue(example)
    there = _build_elsewhere(workshop, elsewhere, example, "--until", "verify")
    assert contents(there.output)["model.onnx"] == contents(here.output)["model.onnx"]


@pytest.mark.case("B11")
def test_no_secret_and_no_trace_of_the_machine_gets_out(
    iris: Built, iris_elsewhere: Built, workshop: Workshop, engine: Any
) -> None:
    """The whole image (configuration, history, labels and every layer), the context, the report and the log."""
    unwanted = [workshop.secret, str(workshop.root), str(Path(__file__).parents[2]), "zebedee", "credentials.json"]
    if getpass.getuser() != "root":  # of which every image speaks
        unwanted.append(getpass.getuser())
    places = {
        "image": b"".join(engine.get_image(iris_elsewhere.reference)),
        "context": b"".join(path.read_bytes() for path in iris_elsewhere.context.rglob("*") if path.is_file()),
        "report": json.dumps(iris_elsewhere.report).encode(),
        "log": iris_elsewhere.result.err.encode(),
        "lock": iris.spec.with_suffix(".lock").read_bytes(),
    }
    assert b"opt/onnxpack/app/model.onnx" in places["image"]  # the layers can be searched as they are
    assert [(word, place) for word in unwanted for place, data in places.items() if word.encode() in data] == []


def test_a_cache_that_is_broken_is_noticed_and_mended(iris: Built, workshop: Workshop) -> None:
    """Flipped bits, a truncated file and a missing one in what the build would take."""
    cache = workshop.root / "broken-cache"
    shutil.copytree(workshop.cache, cache)
    keys = {stage["name"]: stage["key"] for stage in iris.report["stages"]}
    model = cache / "export" / keys["export"] / "data/files/model.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    rows = cache / "verify" / keys["verify"] / "data/result"
    rows.write_bytes(rows.read_bytes()[:-10])
    (cache / "bundle" / keys["bundle"] / "data/files/numpy/__init__.py").unlink()

    again = workshop.build(iris.spec, workshop.root / "mended-dist", ONNXPACK_CACHE=str(cache))

    assert [stage["name"] for stage in again.report["stages"] if not stage["cached"]] == ["export", "verify", "bundle"]
    assert again.layers == iris.layers
    assert contents(again.context) == contents(iris.context)
