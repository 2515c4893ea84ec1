"""A bundle confines its process as production does, for root and for an ordinary user."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from onnxpack.image.runtimes.crun import Crun
from onnxpack.image.runtimes.runc import Runc, make_bundle
from onnxpack.image.runtimes.runtime import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/python3").touch(mode=0o755)
    (tmp_path / "volume/out").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    return Box(
        "check", tmp_path / "root", tmp_path / "volume", tmp_path / "state", ("python3", "-m", "server"),
        {"PATH": "/usr/bin", "A": "1=2"}, "/srv", 65532, 7,
    )  # fmt: skip


def test_a_bundle_has_no_capability_no_network_and_nothing_to_write_but_out(box: Box) -> None:
    bundle = make_bundle(box, 0, 0)
    process = bundle["process"]
    assert process["args"] == ["python3", "-m", "server"]
    assert process["env"] == ["PATH=/usr/bin", "A=1=2"]
    assert (process["cwd"], process["noNewPrivileges"]) == ("/srv", True)
    assert set(process["capabilities"]) == {"bounding", "effective", "inheritable", "permitted", "ambient"}
    assert not any(process["capabilities"].values())
    assert bundle["root"] == {"path": str(box.root), "readonly": True}
    kinds = {entry["type"] for entry in bundle["linux"]["namespaces"]}
    assert kinds == {"pid", "ipc", "uts", "mount", "network", "cgroup", "user"}
    assert all(set(entry) == {"type"} for entry in bundle["linux"]["namespaces"]), "all are new ones"
    written = [one["destination"] for one in bundle["mounts"] if "ro" not in one["options"]]
    assert written == ["/proc", "/dev/shm", "/onnxpack-check/out"]
    assert all("nosuid" in mount["options"] for mount in bundle["mounts"])
    own = [mount for mount in bundle["mounts"] if mount["type"] == "bind"]
    assert [mount["source"] for mount in own] == [str(box.volume), str(box.volume / "out")]
    assert all({"nodev", "noexec"} <= set(mount["options"]) for mount in own)
    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(bundle["linux"]["maskedPaths"])


def test_an_emulated_process_does_not_see_this_machine_s_processors(box: Box) -> None:
    place = "/sys/devices/system/cpu"
    assert place not in make_bundle(box, 0, 0)["linux"]["maskedPaths"]
    emulated = replace(box, emulator=Path("/bin/qemu"))
    assert place in make_bundle(emulated, 0, 0)["linux"]["maskedPaths"]


def test_root_gives_a_box_the_image_s_user_and_an_ordinary_user_has_one_id(box: Box) -> None:
    whole = [{"containerID": 0, "hostID": 0, "size": 65536}]
    bundle = make_bundle(box, 0, 0)
    assert bundle["process"]["user"] == {"uid": 65532, "gid": 7}
    assert (bundle["linux"]["uidMappings"], bundle["linux"]["gidMappings"]) == (whole, whole)
    bundle = make_bundle(box, 1000, 1001)
    assert bundle["process"]["user"] == {"uid": 0, "gid": 0}
    assert bundle["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert bundle["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 1001, "size": 1}]


def test_command_lines_are_those_of_runc_and_crun(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Runc()
    vars(runtime)["program"] = "/usr/sbin/runc"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    state = box.state
    first = ("/usr/sbin/runc", "--root", f"{state}/run")
    started = runtime.start(box, 9)
    assert started.command == (
        *first, "run", "--no-new-keyring", "--bundle", str(state), "--pid-file", f"{state}/pid", "check",
    )  # fmt: skip
    assert started.env["XDG_RUNTIME_DIR"] == "/run/user/1000"
    assert "A" not in started.env, "the box's variables are in the bundle"
    *line, place, name = runtime.execute(box, 4, ["python3", "-V"]).command
    assert (*line, name) == (*first, "exec", "--process", "check")
    process = json.loads(Path(place).read_text())
    assert process == make_bundle(box, os.geteuid(), 0)["process"] | {"args": ["python3", "-V"]}
    assert runtime.clean(box) == (*first, "delete", "--force", "check")
    runtime.prepare(box)
    assert (state / "config.json").stat().st_size > 1000


@pytest.mark.parametrize(
    ("kind", "printed", "version"),
    [
        (Runc, "runc version 1.1.5+ds1\\ncommit: 1\\n", "runc 1.1.5+ds1"),
        (Crun, "crun version 1.8.1\\n", "crun 1.8.1"),
        (Runc, "odd\\n", "runc"),
    ],
)
def test_the_program_says_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Runc], printed: str, version: str
) -> None:
    program = tmp_path / kind.name
    program.write_text(f"#!/bin/sh\nprintf '{printed}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert kind().find_version() == version


def test_without_a_program_there_is_no_version() -> None:
    runtime = Runc()
    vars(runtime)["program"] = None
    assert runtime.find_version() is None
