"""Whatever a server sends, a fetch ends with the file or one error, and no URL reaches what it may not."""

import contextlib
import hashlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx_examples import RELU, make_model
from web import Web

from onnxpack.core.errors import EngineError
from onnxpack.download.fetch import fetch
from onnxpack.download.local import Bounds

SPEC = """\
onnxpack: 1
name: fetched
model: {framework: onnx, path: "URL", sha256: SHA}
inputs:
  x: {dtype: float32, shape: [n, 4]}
dynamic_axes: {n: [1, 8]}
"""
HEADERS = (
    "Content-Length: 4", "Content-Length: 99999999999", "Content-Length: -1", "Content-Length: 4\r\nContent-Length: 9",
    "Transfer-Encoding: chunked", "Transfer-Encoding: gzip, chunked", "Content-Encoding: gzip", "Location: //",
    "Location: http://[::1", "Location: ftp://127.0.0.1/m", "Location: \x00", "Location: http:///m", "Location: m.onnx",
    "Location: http://a:b@127.0.0.1:1/m", "Content-Range: bytes */0", "Content-Range: bytes 5-9/4", "Retry-After: -1",
    "Retry-After: 1e9", "X: " + "y" * 70_000, "Set-Cookie: a=b", "no colon", " folded", "Connection: upgrade",
    "WWW-Authenticate: Basic", "\x00\x01", "Content-Length: \xb2",
)  # fmt: skip
BODIES = (
    b"",
    b"body",
    b"4\r\nbody\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\nbody",
    b"-4\r\nbody",
    b"zz\r\n",
    b"4;x=y\r\nbody\r\n",
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("ONNXPACK_MAX_DOWNLOAD", "1MB")
    return folder


def build(onnxpack: Any, url: str, data: bytes = b"") -> Any:
    digest = hashlib.sha256(data).hexdigest()
    Path("spec.yaml").write_text(SPEC.replace("URL", url).replace("SHA", f'"{digest}"'))
    return onnxpack("build", "spec.yaml", "--until", "export")


def test_a_build_of_a_model_from_a_hostile_server_ends_with_5_and_keeps_nothing(
    project: Path, web: Web, onnxpack: Any, monkeypatch: pytest.MonkeyPatch, count_attacks: Callable[[int], None]
) -> None:
    onnx.save(make_model(RELU), "model.onnx")
    web.content = model = Path("model.onnx").read_bytes()
    (project / "netrc").write_text("machine 127.0.0.1 login me password c4n4ry\ndefault login me password c4n4ry\n")
    monkeypatch.setenv("NETRC", str(project / "netrc"))
    attacks = {
        "endless": "is larger than the limit of 1.0 MB",
        "to ftp://127.0.0.1/m.onnx": "redirects to ftp:, which is not followed",
        "to file:///etc/passwd": "redirects to file:, which is not followed",
        "to /models/m.onnx": "cannot fetch",
        "401": "logins are sent over https only",
        "404": "is not there",
    }
    for step, words in attacks.items():
        web.script = [step] * 20
        ended = build(onnxpack, web.url, model)
        assert ended.code == 5, ended.err
        assert words in ended.err
        assert "c4n4ry" not in ended.out + ended.err
        kept = [path for path in (project.parent / "store").rglob("*") if path.is_file() and path.stat().st_size]
        assert kept == []
    web.script = []
    assert build(onnxpack, web.url, b"another file").code == 5
    assert build(onnxpack, web.url, model).code == 0
    assert set(web.logins) == {None}
    count_attacks(len(attacks) + 1)


@pytest.mark.case("Y6")
def test_a_build_of_a_url_of_this_machine_reads_nothing_outside_the_project(
    project: Path, onnxpack: Any, count_attacks: Callable[[int], None]
) -> None:
    os.mkfifo("pipe.onnx")
    Path("link.onnx").symlink_to("/etc/passwd")
    Path("device.onnx").symlink_to("/dev/zero")
    Path("folder.onnx").mkdir()
    places = ("pipe.onnx", "link.onnx", "device.onnx", "folder.onnx", "../x", "%2e%2e/x", "a%00b")
    urls = [
        *(f"file://{path}" for path in ("/dev/zero", "/etc/shadow", "/etc/passwd", "/proc/self/mem", "/proc/kmsg")),
        *(f"file://{project}/{name}" for name in places),
        *(f"{scheme}:///etc/passwd" for scheme in ("local", "FILE", "LOCAL", "File")),
        "file://localhost/etc/passwd", "file:////etc/passwd", "file:///./etc/passwd", "simplecache::file:///etc/passwd",
        "https://a::file:///etc/passwd",
    ]  # fmt: skip
    known = hashlib.sha256(Path("/etc/passwd").read_bytes()).hexdigest()
    for url in urls:
        ended = build(onnxpack, url)
        assert ended.code == 2, (url, ended.err)
        assert known not in ended.out + ended.err
        assert "bytes)" not in ended.err, "nor is its size told"
    count_attacks(len(urls))


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """Answer every connection with these bytes and close it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        done = threading.Event()

        def serve() -> None:
            while not done.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = server.accept()
                    with connection:
                        connection.settimeout(1)
                        connection.recv(65536)
                        connection.sendall(data)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}/m.onnx"
        finally:
            done.set()
            thread.join()


@pytest.mark.usefixtures("web")
def test_a_random_answer_of_a_server_is_an_error_of_the_network(
    tmp_path: Path, factor: int, count_attacks: Callable[[int], None]
) -> None:
    chance = random.Random(9)
    attacks = 60 * factor
    for _ in range(attacks):
        status = chance.choice(
            ("200 OK", "206 Partial", "302 Found", "308 x", "416 x", "503 x", "401 x", "100 x", "999 x", "x")
        )
        lines = [f"HTTP/1.{chance.randrange(3)} {status}", *chance.choices(HEADERS, k=chance.randrange(4)), "", ""]
        data = bytearray("\r\n".join(lines).encode("latin-1") + chance.choice(BODIES))
        for _ in range(chance.randrange(3)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        place = tmp_path / "partial"
        if chance.random() < 0.3:
            place.write_bytes(b"an earlier try")
        with answering(bytes(data)) as url, pytest.raises(EngineError) as failed:
            fetch(url, "0" * 64, place, tmp_path / "total", Bounds((), 1_000_000))
        assert failed.value.problems[0].hint
        assert not place.exists() or place.stat().st_size < 1_000_000
        place.unlink(missing_ok=True)
    count_attacks(attacks)
