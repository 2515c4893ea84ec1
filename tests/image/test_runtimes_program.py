"""Programs and users are found in the image's files, whatever its links name."""

from dataclasses import replace
from pathlib import Path

import pytest

from onnxpack.core.errors import GateError
from onnxpack.image.runtimes.program import emulate, find_program, find_user
from onnxpack.image.runtimes.runtime import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    for folder in ("usr/bin", "usr/local/bin", "srv", "etc"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").touch(mode=0o755)
    (tmp_path / "usr/bin/python3").symlink_to("/etc/alternatives/python3")
    (tmp_path / "etc/alternatives").mkdir()
    (tmp_path / "etc/alternatives/python3").symlink_to("/usr/bin/python3.11")
    (tmp_path / "usr/local/bin/python3").touch(mode=0o644)
    (tmp_path / "srv/tool").touch(mode=0o755)
    return Box("check", tmp_path, tmp_path, tmp_path, ("python3",), {}, "/srv", 0, 0)


def test_a_program_is_found_on_the_image_s_path_through_its_links(box: Box) -> None:
    assert find_program(box, "python3") == ("/usr/bin/python3", box.root / "usr/bin/python3.11")
    assert find_program(box, "/usr/bin/python3") == ("/usr/bin/python3", box.root / "usr/bin/python3.11")
    assert find_program(box, "./tool") == ("/srv/tool", box.root / "srv/tool")


@pytest.mark.parametrize(
    ("name", "path"), [("sh", "/usr/bin:/bin"), ("python3", "relative:/usr/local/bin"), ("/srv", "")]
)
def test_a_program_that_is_not_there_is_the_image_s_mistake(box: Box, name: str, path: str) -> None:
    with pytest.raises(GateError, match=f"it has no program '{name}'") as failed:
        find_program(replace(box, env={"PATH": path}), name)
    assert "image.base" in failed.value.problems[0].hint


def test_a_command_is_run_by_the_emulator_if_there_is_one(box: Box) -> None:
    assert emulate(box, ["python3", "-c", "x"]) == ("python3", "-c", "x")
    emulated = replace(box, emulator=Path("/usr/bin/qemu-aarch64-static"))
    assert emulate(emulated, ["python3", "-c"]) == ("/.onnxpack-qemu", "-0", "python3", "/usr/bin/python3", "-c")
    assert (emulated.emulator, "/.onnxpack-qemu", False) in emulated.mounts


PASSWD = "root:x:0:0:root:/root:/bin/sh\nodd:x:y\nnonroot:x:65532:65533::/home/nonroot:/sbin/nologin\nshort:x:7\n"


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("", (0, 0, "/root")),
        ("0", (0, 0, "/root")),
        ("65532", (65532, 65533, "/home/nonroot")),
        ("nonroot", (65532, 65533, "/home/nonroot")),
        ("65532:65532", (65532, 65532, "/home/nonroot")),
        ("nonroot:staff", (65532, 50, "/home/nonroot")),
        ("1234", (1234, 0, "/")),
        ("1234:5", (1234, 5, "/")),
        ("short", (7, 0, "/")),
    ],
)
def test_a_user_is_one_of_the_image(tmp_path: Path, words: str, found: tuple[int, int, str]) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text("staff:x:50:\n")
    assert find_user(tmp_path, words) == found


@pytest.mark.parametrize("words", ["nobody", "-1", "70000", "9" * 5000, "0:nobody", "0:70000", "\u0661"])
def test_a_user_that_does_not_exist_is_the_image_s_mistake(tmp_path: Path, words: str) -> None:
    with pytest.raises(GateError, match=r"the image's (user|group) '.*' is not one that it knows"):
        find_user(tmp_path, words)
    assert find_user(tmp_path, "0") == (0, 0, "/")
