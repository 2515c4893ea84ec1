"""A bundle gives what it was made of, and nothing that was changed, cut or is of another lock."""

import io
import re
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from told import Told
from vendoring import MODEL, PACKAGES, Outside, change_member, flip, read_lock

from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError, OnnxpackError, SpecError
from onnxpack.download.resolve import fetch_sources
from onnxpack.image.oci import OciEngine
from onnxpack.oci.layout import Layout
from onnxpack.vendor.bundle import fill_environment, fill_wheels, open_bundle, take_base, take_source
from onnxpack.vendor.collect import Chosen
from onnxpack.vendor.index import VENDOR_FILE
from onnxpack.worker.environments import list_requirements, provide_environment


@pytest.fixture(params=["tar", "folder"])
def place(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path) -> Path:
    """The bundle as it was written, and as the folder that it was unpacked into."""
    if request.param == "tar":
        return bundle
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    return tmp_path / "unpacked"


def test_wheels_of_a_lock_come_under_their_names(
    place: Path, chosen: list[Chosen], served: Outside, tmp_path: Path
) -> None:
    folder = tmp_path / "filled"
    folder.mkdir()
    fill_wheels(place, read_lock(chosen[0].file).packages, folder)
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert found == {
        path.name: path.read_bytes()
        for name, version in PACKAGES.items()
        for path in served.wheels.glob(f"{name}-{version}-*.whl")
    }


def test_a_source_and_a_base_come_by_their_digests(place: Path, chosen: list[Chosen], tmp_path: Path) -> None:
    file = chosen[0].file
    store = Store(tmp_path / "offline")
    found = fetch_sources(file, store, Told(), lambda sha256, path: take_source(place, sha256, path))
    assert file.spec.model.path
    assert found.resolve(file.spec.model.path).read_bytes() == MODEL
    base = read_lock(file).base
    assert base
    engine = OciEngine(Layout(tmp_path / "images"))
    image = take_base(place, engine, base.pinned, "linux/amd64")
    assert image.digest == base.digest
    assert engine.require_base(base.pinned, "linux/amd64", Told()) == image


def test_an_environment_is_made_without_an_index(
    place: Path, chosen: list[Chosen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uv.toml").write_text('index-url = "http://127.0.0.1:9/simple"\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cold"))
    spec = chosen[1].file.spec
    python = provide_environment(
        spec, Store(tmp_path / "offline"), Told(), fill=lambda wanted, folder: fill_environment(place, wanted, folder)
    )
    assert python
    names = {path.name for path in python.parents[1].glob("lib/python*/site-packages/*.dist-info")}
    assert {"scikit_learn-1.0.dist-info", "skl2onnx-1.0.dist-info"} <= names


@pytest.mark.parametrize(
    ("part", "told"),
    [("numpy", "the wheel numpy-2.4"), ("model", "the file 'http"), ("base", "the base image 127.0.0.1:")],
)
def test_a_changed_part_is_named(bundle: Path, chosen: list[Chosen], tmp_path: Path, part: str, told: str) -> None:
    with open_bundle(bundle) as opened:
        index = opened.index
    digests = {
        "numpy": next(wheel.sha256 for wheel in index.wheels if wheel.name.startswith("numpy-2")),
        "model": index.sources[0].sha256,
        "base": index.bases[0].digest.removeprefix("sha256:"),
    }
    change_member(bundle, f"blobs/sha256/{digests[part]}", flip)
    with pytest.raises(EngineError, match=re.escape(told)) as caught:
        take_all(bundle, chosen, tmp_path)
    assert "is damaged" in str(caught.value)
    assert not (tmp_path / "taken").exists()
    assert not list((tmp_path / "filled").glob("numpy-*")) or part != "numpy"


def take_all(bundle: Path, chosen: list[Chosen], tmp_path: Path) -> None:
    """Take all that the first spec needs."""
    file = chosen[0].file
    locked = read_lock(file)
    assert locked.base
    assert file.spec.model.sha256
    (tmp_path / "filled").mkdir()
    take_source(bundle, file.spec.model.sha256, tmp_path / "taken")
    (tmp_path / "taken").unlink()
    take_base(bundle, OciEngine(Layout(tmp_path / "images")), locked.base.pinned, "linux/amd64")
    fill_wheels(bundle, locked.packages, tmp_path / "filled")


def test_a_bundle_that_is_cut_anywhere_is_told(bundle: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    cut = tmp_path / "cut.tar"
    ends = [*range(0, 4096, 500), *range(4096, len(data) - 10240, max(1, len(data) // 60))]
    told = set()
    for end in ends:
        cut.write_bytes(data[:end])
        with pytest.raises(OnnxpackError, match=r"cut\.tar") as caught, open_bundle(cut):
            pytest.fail(f"{end} of {len(data)} bytes were enough")
        told.add(re.sub(r"[0-9a-f]{8,}", "", caught.value.problems[0].message.partition("' ")[2])[:40])
    assert any(words.startswith("is no bundle") for words in told)
    assert any(words.startswith("is cut short: it lacks the") for words in told)
    assert len(ends) > 30


def test_a_folder_without_a_part_names_it(bundle: Path, chosen: list[Chosen], tmp_path: Path) -> None:
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    with open_bundle(bundle) as opened:
        wheel = next(wheel for wheel in opened.index.wheels if wheel.name.startswith("orjson"))
    (tmp_path / "unpacked/blobs/sha256" / wheel.sha256).unlink()
    with pytest.raises(EngineError, match=f"lacks the wheel {wheel.name}"):
        take_all(tmp_path / "unpacked", chosen, tmp_path)


def test_a_bundle_of_another_lock_names_all_that_it_lacks(bundle: Path, chosen: list[Chosen], tmp_path: Path) -> None:
    packages = read_lock(chosen[0].file).packages
    other = [replace(package, version="9.9", hashes=("0" * 64,)) for package in packages[:2]]
    with pytest.raises(SpecError) as caught:
        fill_wheels(bundle, [*other, *packages[2:]], tmp_path)
    assert [problem.message.partition(" has no ")[2] for problem in caught.value.problems] == [
        "wheel of httptools 9.9 that the lock allows", "wheel of numpy 9.9 that the lock allows",
    ]  # fmt: skip


def test_what_a_bundle_does_not_have_is_told(bundle: Path, chosen: list[Chosen], tmp_path: Path) -> None:
    engine = OciEngine(Layout(tmp_path / "images"))
    with pytest.raises(SpecError, match="does not have the base image python:3 for linux/amd64; it has 127"):
        take_base(bundle, engine, "python:3", "linux/amd64")
    with pytest.raises(SpecError, match="no file with the sha256 00000"):
        take_source(bundle, "0" * 64, tmp_path / "taken")
    with pytest.raises(SpecError, match=r"no environment for model\.requirements \(numpy==1\) \(run"):
        fill_environment(bundle, ["numpy==1"], tmp_path)


def test_an_environment_of_another_python_is_told(
    bundle: Path, chosen: list[Chosen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxpack.vendor.bundle.name_python", lambda: "3.99")
    with pytest.raises(SpecError, match=r"fits Python 3\.99 on .*: it has one for Python 3\.\d+ on"):
        fill_environment(bundle, list_requirements(chosen[1].file.spec), tmp_path)


def _add_link(archive: tarfile.TarFile) -> None:
    entry = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
    entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive.addfile(entry)


def _add_named(name: str) -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))

    return add


@pytest.mark.parametrize(
    "add",
    [
        *(_add_named(name) for name in ("../escape", "/etc/escape", "blobs/sha256/../x", "blobs/sha512/a", "b\nc")),
        _add_link,
    ],
)
def test_foreign_members_are_refused(bundle: Path, add: Callable[[tarfile.TarFile], None]) -> None:
    with tarfile.open(bundle, "a") as archive:
        add(archive)
    with pytest.raises(SpecError, match="which belongs in no bundle"), open_bundle(bundle):
        pytest.fail("it was opened")


def test_a_tar_made_anew_of_the_folder_is_a_bundle(bundle: Path, tmp_path: Path) -> None:
    with tarfile.open(bundle) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    with tarfile.open(tmp_path / "again.tar", "w") as archive:
        archive.add(tmp_path / "unpacked", ".")
    with open_bundle(bundle) as one, open_bundle(tmp_path / "again.tar") as other:
        assert one.index == other.index


def test_what_is_no_bundle_is_told(tmp_path: Path, world: Path, served: Outside) -> None:
    (tmp_path / "text").write_text("no tar")
    with pytest.raises(SpecError, match="is no bundle: it is not a tar"), open_bundle(tmp_path / "text"):
        pytest.fail("it was opened")
    with pytest.raises(SpecError, match="is no bundle"), open_bundle(world / "base.tar"):
        pytest.fail("it was opened")
    with pytest.raises(SpecError, match=f"it has no {VENDOR_FILE}"), open_bundle(tmp_path):
        pytest.fail("it was opened")
