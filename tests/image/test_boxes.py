"""A box follows from an image's configuration, and the first runtime that works here gets it."""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from onnxpack.core.errors import EngineError, GateError, SpecError
from onnxpack.image import boxes, runtimes
from onnxpack.image.boxes import choose_runtime, list_command, make_box, open_container
from onnxpack.image.engine import VOLUME
from onnxpack.image.runtimes import VARIABLE, list_runtimes
from onnxpack.image.runtimes.runtime import Box, Launch, Report
from onnxpack.oci.manifests import Platform

HERE = Platform("linux", {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine))


class Bare:
    """A runtime that runs commands of this machine: it confines nothing, and needs no image."""

    rank = 1
    report = Report.PROGRAM

    def __init__(self, name: str, version: str | None = "bare 1.0", broken: bool = False) -> None:
        self.name, self.version, self.broken = name, version, broken
        self.tried = 0

    def find_version(self) -> str | None:
        return self.version

    def prepare(self, box: Box) -> None:
        self.tried += box.name.endswith("-try")

    def start(self, box: Box, report: int) -> Launch:
        return self.execute(box, 0, box.command)

    def has_started(self, process: int) -> bool:
        return True

    def execute(self, box: Box, process: int, command: Sequence[str]) -> Launch:
        program = "/bin/false" if self.broken else sys.executable
        return Launch((program, *command[1:]), dict(box.env))

    def clean(self, box: Box) -> tuple[str, ...]:
        return ()


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(boxes, "_works", {})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root").chmod(0o700)
    (tmp_path / "root/etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nnonroot:x:65532:65533::/home/nonroot:/x\n")
    return tmp_path / "root"


def make(root: Path, scratch: Path, **settings: Any) -> Box:
    scratch.mkdir()
    return make_box(root, settings, scratch, ("python3",), None)


def use(monkeypatch: pytest.MonkeyPatch, *found: Bare) -> None:
    monkeypatch.setattr(runtimes, "list_runtimes", lambda: found)


def test_what_confines_more_is_tried_first() -> None:
    assert [runtime.name for runtime in list_runtimes()] == ["runc", "crun", "bubblewrap", "process"]


@pytest.mark.parametrize(
    ("entrypoint", "command", "line"),
    [
        (None, None, ("python3", "-m", "server", "--all")),
        (None, ["--one"], ("python3", "-m", "server", "--one")),
        (["python3"], None, ("python3",)),
        (["python3"], ["-c", "pass"], ("python3", "-c", "pass")),
    ],
)
def test_a_new_entrypoint_leaves_nothing_of_the_image_s_own_command(
    entrypoint: list[str] | None, command: list[str] | None, line: tuple[str, ...]
) -> None:
    settings = {"Entrypoint": ["python3", "-m", "server"], "Cmd": ["--all"]}
    assert list_command(settings, entrypoint, command) == line
    assert list_command({}, None, None) == ()


def test_a_box_has_what_the_configuration_says(root: Path, tmp_path: Path) -> None:
    box = make(
        root, tmp_path / "scratch", User="nonroot", WorkingDir="srv/app", Env=["A=1=2", "PATH=/opt/bin"],
        ExposedPorts={"8080/tcp": {}, "8081/tcp": {}, "odd": {}, "9" * 5000: {}},
    )  # fmt: skip
    assert (box.user, box.group, box.folder, box.ports) == (65532, 65533, "/srv/app", (8080, 8081))
    assert box.env == {"PATH": "/opt/bin", "HOME": "/home/nonroot", "HOSTNAME": "onnxpack", "A": "1=2"}
    for place in ("proc", "dev", "sys", VOLUME[1:], "srv/app"):
        assert (root / place).is_dir(), place
    assert stat.S_IMODE((box.volume / "out").stat().st_mode) == 0o777
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_an_image_without_settings_runs_as_root_at_the_root(root: Path, tmp_path: Path) -> None:
    box = make(root, tmp_path / "scratch")
    assert (box.user, box.group, box.folder, box.ports, box.emulator) == (0, 0, "/", (), None)
    assert box.env["PATH"].endswith(":/sbin:/bin")
    assert box.env["HOME"] == "/root"


def test_mount_points_are_folders_of_the_image_wherever_its_links_lead(root: Path, tmp_path: Path) -> None:
    (tmp_path / "beside").mkdir()
    (root / "proc").symlink_to(tmp_path / "beside")
    (root / "dev").write_text("no folder")
    (root / "srv").symlink_to(tmp_path / "beside")
    make(root, tmp_path / "scratch", WorkingDir="/srv/app")
    assert (root / "proc").is_dir()
    assert not (root / "proc").is_symlink()
    assert (root / "dev").is_dir()
    assert not list((tmp_path / "beside").iterdir())


def test_the_first_runtime_that_works_is_chosen_and_tried_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent, broken, good, better = Bare("absent", None), Bare("broken", broken=True), Bare("good"), Bare("better")
    use(monkeypatch, absent, broken, good, better)
    box = make(root, tmp_path / "scratch")
    assert [choose_runtime(box).name for _ in range(2)] == ["good", "good"]
    assert [one.tried for one in (absent, broken, good, better)] == [0, 1, 1, 0]
    monkeypatch.setenv(VARIABLE, "better")
    assert choose_runtime(box) is better


def test_a_runtime_that_is_named_and_does_not_work_is_an_error(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Bare("good"), Bare("absent", None), Bare("broken", broken=True))
    box = make(root, tmp_path / "scratch")
    monkeypatch.setenv(VARIABLE, "absent")
    with pytest.raises(EngineError, match="no runtime here can run the image") as failed:
        choose_runtime(box)
    assert failed.value.problems[0].detail == "absent: it is not installed"
    monkeypatch.setenv(VARIABLE, "broken")
    with pytest.raises(EngineError) as failed:
        choose_runtime(box)
    assert failed.value.problems[0].detail == "broken: exit status 1"
    monkeypatch.setenv(VARIABLE, "dokcer")
    with pytest.raises(SpecError, match="names the runtime 'dokcer', and there is none") as wrong:
        choose_runtime(box)
    assert wrong.value.problems[0].hint == "use one of good, absent, broken"


def test_a_container_has_its_files_and_what_it_writes_can_be_fetched(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Bare("good"))
    places = []

    class Noted(Bare):
        def prepare(self, box: Box) -> None:
            places.append(box)

    use(monkeypatch, Noted("good"))
    command = ["-c", "print('started'); import time; time.sleep(60)"]
    with open_container(
        root, {"config": {"ExposedPorts": {"80/tcp": {}}}}, {"a/x.py": b"1", "y": b"2"}, entrypoint=["python3"],
        command=command, platform=HERE,
    ) as container:  # fmt: skip
        container.start()
        box = places[-1]
        assert (box.volume / "a/x.py").read_bytes() == b"1"
        assert stat.S_IMODE((box.volume / "y").stat().st_mode) == 0o444
        assert box.ports == (), "its own command does not run"
        assert container.runtime == "bare 1.0"
        code = f"open({str(box.volume / 'out/z')!r}, 'w').write('3')"
        assert container.execute(["python3", "-c", code]) == (0, "", "")
        assert container.fetch("out") == {"z": b"3"}
        assert container.running()
    assert not container.running()
    assert not box.volume.exists()


def open_one(root: Path, config: dict[str, Any]) -> None:
    with open_container(root, config, {}, platform=HERE):
        raise AssertionError


def test_a_user_that_the_image_does_not_know_is_its_mistake(root: Path) -> None:
    with pytest.raises(GateError, match="the image's user 'nobody' is not one that it knows"):
        open_one(root, {"config": {"User": "nobody"}})


@pytest.mark.parametrize(
    "settings",
    [[1], "text", {"Env": "A=1"}, {"Env": ["A=\0"]}, {"Entrypoint": 5}, {"User": 7}, {"ExposedPorts": ["80"]}],
)
def test_a_configuration_of_another_form_is_an_error_of_the_image(root: Path, settings: Any) -> None:
    with pytest.raises(EngineError, match="the image's configuration has an odd"):
        open_one(root, {"config": settings})
