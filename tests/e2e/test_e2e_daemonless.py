"""What becomes of a build without a daemon that is killed or interrupted, or has no room.

The stages before the compiled modules are the same with every engine: what is done to them is in test_e2e_interrupts.
"""

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Callable

import pytest
from e2e_disks import enlarge, small_disk
from e2e_images import find_damage, list_arguments, list_names, read_image
from e2e_scene import Scene, digest_of
from e2e_tools import REPORTS, Built, alive, contents, failed_stages, fails

OWN_STAGES = ("compile", "image", "smoke")
FACTOR = int(os.environ.get("FAULTS", "1"))
"""How many times as many random kills are made: ``FAULTS=10`` makes twenty."""
KILLS = 2


@pytest.mark.case("B1", "B14")
def test_ctrl_c_and_sigkill_in_each_stage(scene_of: Callable[..., Scene], daemonless: Built) -> None:
    scene = scene_of("interrupted")
    before = contents(scene.place)
    for stage in OWN_STAGES:
        names = list_names(scene.store)
        running, family = scene.begin(stage)
        os.killpg(running.process.pid, signal.SIGINT)
        result = running.finish()
        assert (result.code, result.out, result.err.splitlines()[-1]) == (130, "", "interrupted"), result.err
        assert "Traceback" not in result.err
        assert (alive(family), scene.processes(), scene.partial()) == (set(), [], []), stage
        assert not {name for name in list_names(scene.store) - names if "onnxpack-build" in name}
        assert stage == "image" or list_names(scene.store) >= names
        assert (contents(scene.place), find_damage(scene.images)) == (before, [])

        running, family = scene.begin(stage)
        running.process.kill()
        assert running.finish().code == -signal.SIGKILL
        assert contents(scene.place) == before
        scene.require_nobody(family)
        assert find_damage(scene.images) == []

    built = scene.build()
    _require_new(built, daemonless, "interrupted")
    assert (scene.partial(), find_damage(scene.images)) == ([], [])


@pytest.mark.case("B1")
def test_sigkill_at_random_moments(scene_of: Callable[..., Scene], daemonless: Built) -> None:
    scene, chances, seen = scene_of("killed"), random.Random(FACTOR), []
    old = _digest_outputs(scene)
    longest = sum(stage["seconds"] for stage in daemonless.report["stages"] if not stage["cached"])
    for _ in range(KILLS * FACTOR):
        scene.forget("images", "compile", "smoke", chances.choice(("export", "verify", "bundle")))
        running = scene.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(chances.uniform(0.2, longest))
        family = running.family()
        running.process.kill()
        assert running.finish().code in (0, -signal.SIGKILL)
        seen.append(_digest_outputs(scene))
        scene.require_nobody(family)
        assert find_damage(scene.images) == []
    built = scene.build()
    new = _digest_outputs(scene)
    assert [one for one in seen if one not in (old, new)] == []
    _require_new(built, daemonless, "killed")
    assert (scene.partial(), find_damage(scene.images)) == ([], [])


def _require_new(built: Built, daemonless: Built, label: str) -> None:
    """Make sure that an image has the label that is new, and else what the first one has."""
    one, other = (read_image(found.output / "image.tar") for found in (built, daemonless))
    assert one.config["config"]["Labels"].keys() - other.config["config"]["Labels"].keys() == {label}
    assert one.layers == other.layers
    assert one.manifest_digest == digest_of(built)


def _digest_outputs(scene: Scene) -> dict[str, str]:
    """Return the digests of all that an output has but the reports, which have times."""
    return {name: digest for name, digest in contents(scene.place).items() if name not in REPORTS}


# ---------------------------------------------------------------------------------------------------------- no room


@pytest.mark.case("B2")
@pytest.mark.parametrize("size", ["4m", "60m"], ids=["for the base", "for the layers"])
def test_no_room_for_images_in_the_store(scene_of: Callable[..., Scene], daemonless: Built, size: str) -> None:
    scene = scene_of()
    scene.forget("images")
    before = contents(scene.place)
    with small_disk(scene.images, size):
        if size == "60m":
            room = (daemonless.output / "image.tar").stat().st_size - 2**20
            (scene.images / "filler").write_bytes(b"\0" * (60 * 2**20 - room))
        result = scene.workshop.run(*scene.arguments, **scene.variables)
        fails(result, 5, "No space left on device")
        assert contents(scene.place).keys() == REPORTS != before.keys()
        assert find_damage(scene.images) == []
        assert scene.partial() == []
        enlarge(scene.images, "500m")
        assert digest_of(scene.build()) == digest_of(daemonless)


@pytest.mark.case("B2")
def test_no_room_for_the_files_of_a_container(scene_of: Callable[..., Scene], daemonless: Built) -> None:
    scene = scene_of()
    scene.forget("compile")
    (scene.root / "tmp").rmdir()
    with small_disk(scene.root / "tmp", "20m"):
        result = scene.workshop.run(*scene.arguments, **scene.variables)
        fails(result, 5, "No space left on device")
        assert contents(scene.place).keys() == REPORTS
        assert scene.partial() == []
        enlarge(scene.root / "tmp", "500m")
        assert digest_of(scene.build()) == digest_of(daemonless)


@pytest.mark.case("B2")
def test_no_room_for_the_archive(scene_of: Callable[..., Scene], daemonless: Built) -> None:
    scene = scene_of()
    files = [path.stat().st_size for path in daemonless.output.rglob("*") if path.is_file()]
    with small_disk(scene.root / "small", f"{sum(files) // 2**20 - 20}m") as small:
        arguments = ("build", scene.spec, "--output", small, *list_arguments(scene.base))
        fails(scene.workshop.run(*arguments, **scene.variables), 5, "No space left on device", "another --output")
        assert failed_stages(small) in ([], ["image/smoke"])
        enlarge(small, "500m")
        result = scene.workshop.run(*arguments, **scene.variables)
        assert result.code == 0, result.err
        assert contents(small / "iris/cpu")["image.tar"] == contents(daemonless.output)["image.tar"]
