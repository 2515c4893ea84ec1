"""Without a daemon the same spec gives the same image, to the manifest's digest, wherever and however it is built."""

import gzip
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from e2e_images import find_damage, list_arguments, list_names, open_saved, read_image
from e2e_tools import ONNXPACK, REPORTS, Built, Result, Workshop, contents, fails

from onnxpack.bundle.context import Context
from onnxpack.bundle.render import DockerView
from onnxpack.image.engine import BuildRequest
from onnxpack.image.oci import OciEngine
from onnxpack.oci.layout import Layout
from onnxpack.spec.load import load

USER, NAME, HOST = 4711, "zebedee", "zebedees-machine"
CAPABILITY = "-all,+dac_read_search"
"""So that a user that no machine has can read the interpreter of root's; it may write nothing of others."""
ASSEMBLIES = 10
UNSTEADY = """\
import time, torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor([float(time.time_ns() % 10**6)]))

    def forward(self, x):
        return x + self.scale
"""


@dataclass(frozen=True)
class Elsewhere:
    """A build by somebody else, in a folder that nobody else has."""

    folder: Path
    built: Built
    began: float
    ended: float

    @property
    def words(self) -> list[str]:
        """Return what of that build must be in no image."""
        host = HOST if os.geteuid() == 0 else socket.gethostname()
        package = Path(__file__).parents[2] / "onnxpack"
        # A name such as localhost is in many files that know nothing of this machine.
        return [str(self.folder), self.folder.name, NAME, str(package), *([host] if "-" in host else [])]

    @property
    def times(self) -> list[str]:
        """Return the dates and seconds of the build as people and programs write them, here and where it was."""
        found: set[str] = set()
        for moment in (self.began, self.ended):
            found.add(str(int(moment))[:-2])  # to a hundred seconds
            for zone in (UTC, timezone(timedelta(hours=13, minutes=45))):
                date = datetime.fromtimestamp(moment, zone)
                found |= {date.strftime(form) for form in ("%Y-%m-%d", "%Y%m%d", "%d %b %Y", "%b %d %Y", "%d/%m/%Y")}
        return sorted(found)


@pytest.fixture(scope="session")
def elsewhere(workshop: Workshop, daemonless: Built, base_archive: Path) -> Iterator[Elsewhere]:
    """The same spec with other times, user, host, umask, time zone, locale, hash seed, folder, store and downloads."""
    folder = Path(tempfile.mkdtemp(prefix="elsewhere-of-")).resolve()
    try:
        shutil.copytree(daemonless.spec.parent, folder / "specs" / "iris", copy_function=shutil.copyfile)
        shutil.copyfile(base_archive, folder / "base.tar")
        for number, path in enumerate((folder, *folder.rglob("*"))):
            os.utime(path, (10**9 + number, 10**9 + number))
            if os.geteuid() == 0:
                os.chown(path, USER, USER)
        variables = {
            "HOME": str(folder), "USER": NAME, "LOGNAME": NAME, "TMPDIR": str(folder), "TZ": "Pacific/Chatham",
            "UV_CACHE_DIR": str(folder / "uv"), "ONNXPACK_CACHE": str(folder / "store"), "LC_ALL": "C", "LANG": "C",
            "PYTHONHASHSEED": "4711", "SOURCE_DATE_EPOCH": "1000000000",
        }  # fmt: skip
        spec, began = folder / "specs/iris/spec.yaml", time.time()
        command = [ONNXPACK, "build", spec, "--output", folder / "dist", "--until", "image"]
        ended = subprocess.run(
            [*_become(), *command, *list_arguments(folder / "base.tar")],
            cwd=folder, env=workshop.environment(**variables), umask=0o077, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        built = Built(spec, Result(0, ended.stdout, ended.stderr), folder / "dist/iris/cpu")
        yield Elsewhere(folder, built, began, time.time())
    finally:
        shutil.rmtree(folder)


def _become() -> list[str]:
    """Return the command that runs another one as an ordinary user of another machine; none, if this is one."""
    if os.geteuid() != 0:
        return []
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", f"--inh-caps={CAPABILITY}"]
    user += [f"--ambient-caps={CAPABILITY}", f"--bounding-set={CAPABILITY}"]
    return ["unshare", "--uts", "sh", "-ec", f'hostname {HOST}; exec "$@"', "sh", *user]


@pytest.mark.case("R2")
def test_somebody_else_elsewhere_gets_the_same_image(daemonless: Built, elsewhere: Elsewhere) -> None:
    there = elsewhere.built
    assert [stage["name"] for stage in there.report["stages"] if stage["cached"]] == []
    assert there.report["image"]["digest"] == daemonless.report["image"]["digest"]
    assert there.report["image"]["id"] == daemonless.report["image"]["id"]
    assert contents(there.output)["image.tar"] == contents(daemonless.output)["image.tar"]
    if os.geteuid() == 0:
        assert (there.output / "image.tar").stat().st_uid == USER


@pytest.mark.case("R1")
def test_ten_assemblies_give_one_image(daemonless: Built, base_archive: Path, tmp_path: Path) -> None:
    """Each in an empty layout but for the base; files have other times and come in another order of the folder's."""
    first, docker = OciEngine(Layout(tmp_path / "base")), _read_view(daemonless)
    base = first.add_base(base_archive, docker.base, daemonless.report["image"]["platform"])
    made = set()
    for number in range(ASSEMBLIES):
        place = tmp_path / f"layout-{number}"
        shutil.copytree(first.layout.root, place, copy_function=os.link)
        folder = tmp_path / "context"
        _copy_shuffled(daemonless.context, folder, number)
        asked = BuildRequest(Context(folder, "", "", docker), base, f"assembled:{number}", "gzip")
        image = OciEngine(Layout(place)).build(asked)
        made.add((image.id, image.digest))
        for used in (folder, place):
            shutil.rmtree(used)
    assert made == {(daemonless.report["image"]["id"], daemonless.report["image"]["digest"])}


def _copy_shuffled(source: Path, target: Path, seed: int) -> None:
    """Link a folder's files, made in an order that the seed gives."""
    target.mkdir()
    files = sorted(path for path in source.rglob("*") if path.is_file())
    random.Random(seed).shuffle(files)
    for path in files:
        place = target / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, place)
    for path in source.rglob("*"):
        if path.is_dir():
            (target / path.relative_to(source)).mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(source)).chmod(path.stat().st_mode)


def _read_view(built: Built) -> DockerView:
    """Return what an image's Dockerfile says."""
    spec, labels = load(built.spec).spec, read_image(built.output / "image.tar").config["config"]["Labels"]
    return DockerView(built.report["image"]["base"]["reference"], labels, {}, (8080,), spec.runtime.server)


@pytest.mark.case("R5")
def test_nothing_of_the_machine_or_the_time_is_in_the_image(elsewhere: Elsewhere) -> None:
    """Neither in a file, a name, a link, a compiled module, a label, the history nor the archive around it."""
    path = elsewhere.built.output / "image.tar"
    image = read_image(path)
    places = {"configuration": json.dumps(image.config).encode()}
    with open_saved(path) as read:
        for name in ("index.json", "manifest.json", "oci-layout"):
            places[name] = read(name)
        for blob in json.loads(read("manifest.json"))[0]["Layers"]:
            assert read(blob)[4:8] == b"\0\0\0\0"  # where gzip has a time
    for number, layer in enumerate(image.layers[-2:]):
        places[f"tar {number}"] = _read_tar(path, number)
        assert {(entry.owner, entry.mtime) for entry in layer.values()} == {((0, 0), 315532800)}
    assert b"opt/onnxpack/app/model.onnx" in places["tar 1"]  # so that what is searched is what is meant
    unwanted = [*elsewhere.words, *elsewhere.times]
    found = [(word, place) for word in unwanted for place, data in places.items() if word.encode() in data]
    assert found == []
    _require_timeless_bytecode(elsewhere)


def _read_tar(path: Path, number: int) -> bytes:
    """Return the tar of a layer, counted from the first of the two that are not the base's."""
    with open_saved(path) as read:
        return gzip.decompress(read(json.loads(read("manifest.json"))[0]["Layers"][number - 2]))


def _require_timeless_bytecode(elsewhere: Elsewhere) -> None:
    """Compiled modules name their sources' hashes, not their times, and the paths that they have in the image."""
    compiled = sorted((elsewhere.built.context / "rootfs").rglob("*.pyc"))
    assert len(compiled) > 50
    for path in compiled:
        data = path.read_bytes()
        assert data[4:8] in (b"\x01\0\0\0", b"\x03\0\0\0"), f"{path} is checked by its source's time"
        assert b"/opt/onnxpack/" in data or b"/usr/" in data or b"<frozen" in data, path


def test_a_second_build_proves_the_first_one(daemonless: Built, workshop: Workshop, base_archive: Path) -> None:
    images = workshop.cache / "images"
    before = list_names(workshop.cache), contents(images / "blobs")
    options = (*list_arguments(base_archive), "--verify-reproducible")
    again = workshop.build(daemonless.spec, workshop.root / "dist-oci", *options)
    assert again.report["image"]["digest"] == daemonless.report["image"]["digest"]
    assert again.report["reproduction"] == {"compared": "manifest", "digest": daemonless.report["image"]["digest"]}
    # Another test may have given the name to an image that is compressed otherwise.
    done = [stage["name"] for stage in again.report["stages"] if not stage["cached"]]
    assert done in (["reproduce"], ["image", "reproduce"])
    assert (list_names(workshop.cache), contents(images / "blobs")) == before
    assert find_damage(images) == []


def test_a_model_that_differs_each_time_is_refused(workshop: Workshop, base_archive: Path, tmp_path: Path) -> None:
    folder = workshop.root / "unsteady"
    folder.mkdir()
    (folder / "model.py").write_text(UNSTEADY)
    fields = {
        "onnxpack": 1, "name": "unsteady", "version": "1.0.0",
        "model": {"framework": "torch", "factory": "model.py:Net", "weights": "none", "exporter": "torchscript"},
        "inputs": {"x": {"dtype": "float32", "shape": ["n", 4]}}, "dynamic_axes": {"n": [1, 8]},
        "runtime": {"server": "none"}, "image": {"repository": workshop.repository("unsteady")},
    }  # fmt: skip
    (folder / "spec.yaml").write_text(json.dumps(fields))
    options = (*list_arguments(base_archive), "--verify-reproducible", "--output", tmp_path / "dist")
    result = workshop.run("build", folder / "spec.yaml", *options)
    fails(result, 4, "a second build gave another image", "rootfs/model/opt/onnxpack/app/model.onnx")
    assert "numpy" not in result.err  # of what is the same nothing is said
    assert not [name for name in list_names(workshop.cache) if "onnxpack-again" in name or "onnxpack-build" in name]
    assert set(contents(tmp_path / "dist")) == {f"unsteady/cpu/{name}" for name in REPORTS}
    assert not list(workshop.cache.glob(".onnxpack-*"))
