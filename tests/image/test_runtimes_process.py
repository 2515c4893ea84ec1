"""A plain process gets the image's own loader, libraries and modules, and nothing of this machine's variables."""

import os
import socket
import sys
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError, GateError
from onnxpack.image.runtimes.process import Process, find_loader, relink
from onnxpack.image.runtimes.runtime import Box


def make_elf(interpreter: bytes) -> bytes:
    """Return a file of 64 bits with one segment that names its loader."""
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (62).to_bytes(2, "little")
    head += (1).to_bytes(4, "little") + bytes(8) + (64).to_bytes(8, "little") + bytes(12)
    head += b"".join(size.to_bytes(2, "little") for size in (64, 56, 1, 64, 0, 0))
    size = len(interpreter) + 1
    fields = (120, 0, 0, size, size, 1)
    segment = (3).to_bytes(4, "little") + (4).to_bytes(4, "little")
    return head + segment + b"".join(field.to_bytes(8, "little") for field in fields) + interpreter + b"\0"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    root = tmp_path / "root"
    for folder in ("usr/bin", "usr/lib/x86_64-linux-gnu", "lib64", "opt/onnxpack/app"):
        (root / folder).mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib")
    (root / "lib64/ld-linux-x86-64.so.2").symlink_to("/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    (root / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2").touch()
    (root / "usr/bin/python3.11").write_bytes(make_elf(b"/lib64/ld-linux-x86-64.so.2"))
    (root / "usr/bin/python3.11").chmod(0o755)
    (root / "usr/bin/python3").symlink_to("python3.11")
    env = {
        "PATH": "/usr/bin", "PYTHONPATH": "/opt/onnxpack/app:/opt/onnxpack/lib", "LD_PRELOAD": "/x.so", "A": "/b",
        "HOME": "/home/nonroot",
    }  # fmt: skip
    command = ("python3", "-m", "inference", "--input", "/onnxpack-check/a.npz")
    return Box("check", root, tmp_path / "volume", tmp_path / "state", command, env, "/", 65532, 7)


def test_the_image_s_loader_runs_its_program_with_its_own_libraries(box: Box) -> None:
    root, volume = box.root, box.volume
    launch = Process().start(box, 0)
    libraries = f"{root}/usr/lib/x86_64-linux-gnu:{root}/lib64:{root}/usr/lib"
    assert list(launch.command) == [
        f"{root}/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "--inhibit-cache", "--library-path", libraries,
        f"{root}/usr/bin/python3.11", "-m", "inference", "--input", f"{volume}/a.npz",
    ]  # fmt: skip
    assert launch.env == {
        "PATH": "/usr/bin", "PYTHONPATH": f"{root}/opt/onnxpack/app:{root}/opt/onnxpack/lib", "A": "/b",
        "HOME": f"{root}/home/nonroot", "ONNXPACK_ROOT": str(root), "ONNXPACK_FIRST_PROCESS": "self",
    }  # fmt: skip


def test_a_second_command_is_told_the_first_process_and_ends_with_the_build(box: Box) -> None:
    launch = Process().execute(box, 4711, ["python3", "-c", "open('/onnxpack-check/out/x')"])
    assert launch.command[0] == sys.executable
    assert launch.command[-2:] == (f"open('{box.volume}/out/x')", "--")
    assert launch.env["ONNXPACK_FIRST_PROCESS"] == "4711"


def test_links_lead_into_the_image(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    (root / "file").write_text("1")
    links = {
        "a/absolute": "/file", "a/b/climbing": "../../../../../file", "a/b/fine": "../../file", "a/root": "/",
        "a/gone": "/etc/passwd", "a/b/twisted": "/a/../../file",
    }  # fmt: skip
    for name, target in links.items():
        (root / name).symlink_to(target)
    relink(root)
    assert {name: os.path.realpath(root / name).removeprefix(f"{root}") for name in links} == {
        "a/absolute": "/file", "a/b/climbing": "/file", "a/b/fine": "/file", "a/root": "", "a/gone": "/etc/passwd",
        "a/b/twisted": "/file",
    }  # fmt: skip
    assert (root / "a/b/fine").readlink() == Path("../../file")
    assert not (root / "a/gone").exists()


def test_a_port_that_another_program_has_is_told(box: Box) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        taken = Box(**{**vars(box), "ports": (port,)})
        with pytest.raises(EngineError, match=f"port {port} of this machine cannot be had: address already") as failed:
            Process().prepare(taken)
    assert "install runc or bubblewrap" in failed.value.problems[0].hint
    Process().prepare(taken)


@pytest.mark.parametrize(
    "data", [b"#!/bin/sh\n", b"", make_elf(b"")[:80], make_elf(b"/x").replace(b"\x03\0\0\0", b"\x01\0\0\0", 1)]
)
def test_a_program_that_no_loader_loads_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "python3").write_bytes(data)
    with pytest.raises(GateError, match="the image's python3 cannot be run as a process"):
        find_loader(tmp_path, tmp_path / "python3")
