"""Images in the store: builds at once, damage of every kind, and no network."""

import contextlib
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e_images import find_damage, list_arguments, list_names
from e2e_scene import Scene, digest_of
from e2e_tools import ONNXPACK, Built, contents


@pytest.mark.case("B7")
def test_builds_of_one_spec_and_of_two_at_once(scene_of: Callable[..., Scene], daemonless: Built) -> None:
    """One store without images; two builds have one output as well."""
    scene = scene_of()
    scene.forget("images", "compile")
    other = scene.root / "other/iris/spec.yaml"
    shutil.copytree(scene.spec.parent, other.parent)
    scene.workshop.edit(other, name="other", runtime={"server": "none"})
    other.with_suffix(".lock").unlink()  # it has the server's packages
    arguments = ("build", other, "--output", scene.root / "dist", *list_arguments(scene.base))
    options = ("--until", "image")
    running = [scene.start(*options), scene.workshop.start(*arguments, *options, **scene.variables)]
    running.append(scene.start(*options))
    results = [one.finish() for one in running]
    assert [result.code for result in results] == [0, 0, 0], [result.err for result in results]
    assert contents(scene.place)["image.tar"] == contents(daemonless.output)["image.tar"]
    report = json.loads((scene.root / "dist/other/cpu/report.json").read_text())
    assert report["image"]["layers"][0]["digest"] == daemonless.layers[0]
    names = list_names(scene.store)
    assert not [name for name in names if "onnxpack-build" in name]
    assert len(names) == 1 + 2 + 2  # the base, and both specs by version and by content
    assert (find_damage(scene.images), scene.partial()) == ([], [])


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    """Take away the end of a file."""
    path.write_bytes(path.read_bytes()[:-10])


def damage_blobs(images: Path, image: dict[str, object]) -> None:
    """Break every blob: flipped, cut and missing ones in turn."""
    blobs = sorted(images.glob("blobs/sha256/*"))
    assert len(blobs) > 6
    for number, path in enumerate(blobs):
        (flip, cut, Path.unlink)[number % 3](path)


def damage_manifest(images: Path, image: dict[str, object]) -> None:
    cut(images / str(image["digest"]).replace("sha256:", "blobs/sha256/"))


def damage_names(images: Path, image: dict[str, object]) -> None:
    cut(images / "index.json")


def swap_names(images: Path, image: dict[str, object]) -> None:
    """Let every name stand for the base: a whole image, but another one."""
    index = json.loads((images / "index.json").read_text())
    base = next(entry for entry in index["manifests"] if "+linux" in json.dumps(entry))
    index["manifests"] = [{**base, "annotations": entry["annotations"]} for entry in index["manifests"]]
    (images / "index.json").write_text(json.dumps(index))


def damage_facts(images: Path, image: dict[str, object]) -> None:
    """Change what was found out about layers, and forget the image, so that it is put together from that again."""
    for path in (images / "layers").iterdir():
        path.write_text(path.read_text().replace("1", "2").replace("7", "3"))
    (images / "index.json").unlink()


@pytest.mark.case("B8")
@pytest.mark.parametrize("damage", [damage_blobs, damage_manifest, damage_names, swap_names, damage_facts])
def test_damaged_images_are_made_again(
    scene_of: Callable[..., Scene], daemonless: Built, damage: Callable[[Path, object], None]
) -> None:
    scene = scene_of()
    damage(scene.images, daemonless.report["image"])
    built = scene.build()
    assert digest_of(built) == digest_of(daemonless)
    assert contents(scene.place)["image.tar"] == contents(daemonless.output)["image.tar"]
    assert scene.partial() == []


@pytest.mark.case("B13")
def test_no_network(scene_of: Callable[..., Scene], daemonless: Built) -> None:
    """Neither an address nor a name server; the base is in the store, as a build of yesterday left it."""
    scene = scene_of()
    scene.forget("compile")
    (scene.place / "image.tar").unlink()
    ways = [["unshare", "--net"], ["unshare", "--user", "--map-current-user", "--net"]]
    way = next((way for way in ways if _works([*way, "true"])), None)
    if way is None:
        pytest.skip("this machine lets nobody leave the network")
    command = [*way, ONNXPACK, "build", scene.spec, "--output", scene.root / "dist", "--engine", "oci"]
    ended = subprocess.run(
        command, env=scene.workshop.environment(**scene.variables), cwd=scene.root, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert contents(scene.place)["image.tar"] == contents(daemonless.output)["image.tar"]


def _works(command: list[str]) -> bool:
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False
