"""The command lines of bubblewrap confine the first process, and lead a second one to it."""

import os
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from onnxpack.image.runtimes import bubblewrap
from onnxpack.image.runtimes.bubblewrap import Bubblewrap
from onnxpack.image.runtimes.runtime import Box

LINE = """\
/bin/bwrap --unshare-all --die-with-parent --as-pid-1 --info-fd 9 --cap-drop ALL --uid 65532 --gid 7
--hostname onnxpack --ro-bind {root} / --proc /proc --tmpfs /dev
--dev-bind /dev/null /dev/null --dev-bind /dev/zero /dev/zero --dev-bind /dev/full /dev/full
--dev-bind /dev/random /dev/random --dev-bind /dev/urandom /dev/urandom
--symlink /proc/self/fd /dev/fd --symlink /proc/self/fd/0 /dev/stdin --symlink /proc/self/fd/1 /dev/stdout
--symlink /proc/self/fd/2 /dev/stderr --size 67108864 --perms 1777 --tmpfs /dev/shm --remount-ro /dev
--ro-bind /sys /sys --ro-bind {volume} /onnxpack-check --bind {volume}/out /onnxpack-check/out
--chdir /srv -- python3 -m server
"""


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/python3").touch(mode=0o755)
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: f"/bin/{name}")
    return Box(
        "check", tmp_path / "root", tmp_path / "volume", tmp_path / "state", ("python3", "-m", "server"),
        {"PATH": "/usr/bin"}, "/srv", 65532, 7,
    )  # fmt: skip


def test_the_first_process_is_confined(box: Box) -> None:
    launch = Bubblewrap().start(box, 9)
    assert list(launch.command) == LINE.format(root=box.root, volume=box.volume).split()
    assert launch.env == {"PATH": "/usr/bin"}, "nothing of this machine's"


def test_an_emulated_process_does_not_see_this_machine_s_processors(box: Box) -> None:
    emulated = replace(box, emulator=Path("/bin/qemu"))
    line = " ".join(Bubblewrap().start(emulated, 9).command)
    assert " --ro-bind /sys /sys --tmpfs /sys/devices/system/cpu --remount-ro /sys/devices/system/cpu " in line


def test_a_second_command_joins_all_namespaces_of_the_first(box: Box) -> None:
    launch = Bubblewrap().execute(box, 4711, ["python3", "-c", "pass"])
    assert " ".join(launch.command) == (
        "/bin/nsenter --target 4711 --user --mount --net --pid --ipc --uts --preserve-credentials --wdns=/srv"
        " -- python3 -c pass"
    )
    assert launch.env == {"PATH": "/usr/bin"}
    assert Bubblewrap().clean(box) == ()


@pytest.mark.parametrize("missing", ["bwrap", "nsenter"])
def test_both_programs_must_be_installed(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: None if name == missing else "/bin/true")
    assert Bubblewrap().find_version() is None


def test_a_process_is_in_its_box_when_it_is_no_longer_bubblewrap(tmp_path: Path) -> None:
    assert Bubblewrap().has_started(os.getpid())
    program = tmp_path / "bwrap"
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([program, "60"]) as process:
        end = time.monotonic() + 20  # for the system to name the process after the program
        while Bubblewrap().has_started(process.pid) and time.monotonic() < end:
            time.sleep(0.001)
        assert not Bubblewrap().has_started(process.pid)
        process.kill()
    assert Bubblewrap().has_started(process.pid), "it has ended, which is found elsewhere"
