"""What is fetched is whole and known, or one typed error says why not."""

import hashlib
import os
import signal
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from certificates import make_certificate
from web import Web, serving

from onnxpack.core.errors import EngineError, OnnxpackError, SourceError, SpecError
from onnxpack.download import transfer
from onnxpack.download.fetch import fetch
from onnxpack.download.local import Bounds

CONTENT = bytes(range(256)) * 20_000
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _content(web: Web) -> None:
    web.content = CONTENT


LIMIT = 10 * len(CONTENT)


def fetched(url: str, folder: Path, sha256: str = SHA, limit: int = LIMIT) -> bytes:
    size = fetch(url, sha256, folder / "partial", folder / "total", Bounds((str(folder),), limit))
    content = (folder / "partial").read_bytes()
    assert size == len(content)
    return content


def refusal(
    url: str, folder: Path, sha256: str = SHA, kind: type[OnnxpackError] = EngineError, limit: int = LIMIT
) -> str:
    with pytest.raises(kind) as refused:
        fetched(url, folder, sha256, limit)
    assert type(refused.value) is kind
    (problem,) = refused.value.problems
    assert problem.hint
    return problem.message


def test_a_file_comes_whole(tmp_path: Path, web: Web) -> None:
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.ranges == [None]
    assert (tmp_path / "total").read_text() == str(len(CONTENT))


def test_fetch_of_a_partial_file_resumes(tmp_path: Path, web: Web) -> None:
    (tmp_path / "partial").write_bytes(CONTENT[:3000])
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.ranges == ["bytes=3000-"]


def test_fetch_of_a_complete_file_only_checks_it(tmp_path: Path, web: Web) -> None:
    (tmp_path / "partial").write_bytes(CONTENT)
    assert fetched(web.url, tmp_path) == CONTENT


@pytest.mark.parametrize("start", [CONTENT + b"more", b"another file", b"x" * len(CONTENT)])
def test_a_start_of_another_file_is_replaced(tmp_path: Path, web: Web, start: bytes) -> None:
    (tmp_path / "partial").write_bytes(start)
    assert fetched(web.url, tmp_path) == CONTENT


def test_a_server_that_cannot_resume_sends_all_again(tmp_path: Path, web: Web) -> None:
    web.resumes = False
    web.script = ["cut"]
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.ranges[1] is not None


@pytest.mark.parametrize("script", [["503"], ["429", "500", "502", "504"], ["reset"], ["cut", "cut", "reset", "503"]])
def test_fetch_with_temporary_error_is_retried(tmp_path: Path, web: Web, script: list[str]) -> None:
    web.script = list(script)
    assert fetched(web.url, tmp_path) == CONTENT
    assert len(web.ranges) == len(script) + 1


def test_a_cut_answer_is_resumed_not_begun_again(tmp_path: Path, web: Web) -> None:
    web.script = ["cut"]
    fetched(web.url, tmp_path)
    assert web.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


def test_progress_allows_more_tries(tmp_path: Path, web: Web) -> None:
    web.script = ["cut", "503", "503", "503"] * 3
    assert fetched(web.url, tmp_path) == CONTENT


@pytest.mark.parametrize("step", ["503", "429", "reset"])
def test_fetch_that_always_fails_ends(tmp_path: Path, web: Web, step: str) -> None:
    web.script = [step] * 50
    assert "cannot fetch 'http://127.0.0.1" in refusal(web.url, tmp_path)
    assert len(web.ranges) == 5


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("404", "is not there: 404"),
        ("410", "is not there"),
        ("401", "refused: 401"),
        ("403", "refused: 403"),
        ("400", "400"),
    ],
)
def test_fetch_with_permanent_error_fails_at_once(tmp_path: Path, web: Web, status: str, words: str) -> None:
    web.script = [status] * 50
    assert words in refusal(web.url, tmp_path)
    assert len(web.ranges) == 1


def test_a_wrong_digest_is_refused_and_nothing_stays(tmp_path: Path, web: Web) -> None:
    words = refusal(web.url, tmp_path, "0" * 64)
    assert f"its sha256 is {SHA} ({len(CONTENT)} bytes)" in words
    assert not (tmp_path / "partial").exists()


def test_fetch_from_unknown_host_fails(tmp_path: Path, web: Web) -> None:
    assert "the server cannot be reached" in refusal("http://127.0.0.1:9/m.onnx", tmp_path)


def test_no_message_shows_a_query(tmp_path: Path, web: Web) -> None:
    for web.script in (["404"], ["401"], ["503"] * 9):
        assert "private" not in refusal(f"{web.url}?a=private", tmp_path)
    assert "private" not in refusal(f"{web.url}?a=private", tmp_path, "0" * 64)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """A server's certificate for 127.0.0.1, which the client trusts."""
    server, trusted = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server)
    return context


NAMED = "machine 127.0.0.1 login me password secret\n"
DEFAULT = "machine example.com login me password secret\ndefault login me password secret\n"


def logins(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (folder / "netrc").write_text(text)
    monkeypatch.setenv("NETRC", str(folder / "netrc"))


def test_a_login_comes_from_netrc_and_stays_at_its_host(
    tmp_path: Path,
    web: Web,
    tls: ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logins(tmp_path, monkeypatch, NAMED)
    web.content = CONTENT
    with serving(tls) as safe, serving(tls) as other:
        safe.content = other.content = CONTENT
        safe.script = [f"to {other.url}"]
        assert fetched(safe.url, tmp_path) == CONTENT
        assert safe.logins == ["Basic bWU6c2VjcmV0"]
        assert other.logins == [None]


def test_no_login_goes_over_http(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    logins(tmp_path, monkeypatch, NAMED)
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.logins == [None]
    (tmp_path / "partial").unlink()
    web.script = ["401"]
    with pytest.raises(EngineError, match="logins are sent over https only"):
        fetched(web.url, tmp_path)


def test_the_default_of_netrc_goes_to_no_host(
    tmp_path: Path, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    logins(tmp_path, monkeypatch, DEFAULT)
    with serving(tls) as safe:
        safe.content = CONTENT
        assert fetched(safe.url, tmp_path) == CONTENT
        assert safe.logins == [None]


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/m.onnx?a=private", "file:///etc/passwd", "gopher://127.0.0.1/1"])
def test_a_redirect_leads_to_http_alone(tmp_path: Path, web: Web, target: str) -> None:
    web.script = [f"to {target}"]
    words = refusal(web.url, tmp_path)
    assert words.endswith(f"redirects to {target.partition(':')[0]}:, which is not followed")


@pytest.mark.parametrize(
    "header",
    ["200 Content-Length \xb2", f"200 Content-Length {'9' * 5000}", "200 Content-Length -5", "200 Content-Length 1e3",
     "503 Retry-After \xb3", f"503 Retry-After {'9' * 5000}", "503 Retry-After Wed, 21 Oct 2015 07:28:00 GMT"],
)  # fmt: skip
def test_a_header_that_is_no_number_is_not_believed(tmp_path: Path, web: Web, header: str) -> None:
    web.script = [f"says {header}"]
    assert fetched(web.url, tmp_path) == CONTENT


@pytest.mark.parametrize("step", ["drip", "drip head"])
def test_fetch_from_a_slow_source_ends(
    tmp_path: Path,
    web: Web,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    monkeypatch.setattr(transfer, "WINDOW", 0.2)
    web.script = [step] * 50
    assert "less than 1024 bytes a second came for 0.2 s" in refusal(web.url, tmp_path)
    assert len(web.ranges) == 5
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_fetch_with_a_pause_goes_on(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "WINDOW", 0.2)
    web.content = b"x" * 5000
    web.script = ["drip"]
    sha256 = hashlib.sha256(web.content).hexdigest()
    assert fetched(web.url, tmp_path, sha256) == web.content  # what dripped is kept, and its digest is right
    assert web.ranges[1] != "bytes=0-"


def test_an_answer_that_is_announced_as_too_large_is_not_read(tmp_path: Path, web: Web) -> None:
    words = refusal(web.url, tmp_path, limit=len(CONTENT) - 1)
    assert "is larger than the limit of 5.1 MB" in words
    assert not (tmp_path / "partial").exists()


def test_an_answer_without_end_stops_at_the_limit(tmp_path: Path, web: Web) -> None:
    web.script = ["endless"]
    assert "is larger than the limit of 5.1 MB" in refusal(web.url, tmp_path, limit=len(CONTENT))
    assert not (tmp_path / "partial").exists()


@pytest.mark.parametrize("step", ["302", "says 302 Location ", "says 308 Location http://[::1"])
def test_a_redirect_that_leads_nowhere_is_told(tmp_path: Path, web: Web, step: str) -> None:
    web.script = [step] * 20
    assert "cannot fetch" in refusal(web.url, tmp_path)


def test_a_redirect_without_end_is_not_read(tmp_path: Path, web: Web) -> None:
    web.script = ["endless to /models/m.onnx"]
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.endless_chunks < 500, "what fits into the buffers of both sides"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system cannot be mounted here: a full disk needs one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_what_the_disk_has_no_room_for_is_not_begun(small_disk: Path, web: Web) -> None:
    (small_disk / "partial").write_bytes(CONTENT[:3000])
    assert refusal(web.url, small_disk).endswith("it needs 5.1 MB more, and 1.0 MB are free")
    assert not (small_disk / "partial").exists()


def test_a_disk_that_fills_keeps_nothing_of_it(small_disk: Path, web: Web) -> None:
    web.script = ["endless"]
    assert refusal(web.url, small_disk, limit=100 * len(CONTENT)).endswith("No space left on device")
    assert not (small_disk / "partial").exists()


def test_a_file_url_needs_nothing_installed(tmp_path: Path) -> None:
    place = tmp_path / "a model.onnx"
    place.write_bytes(CONTENT)
    url = f"file://{str(place).replace(' ', '%20')}"
    assert fetched(url, tmp_path) == CONTENT
    (tmp_path / "partial").write_bytes(CONTENT[:3000])
    assert fetched(url, tmp_path) == CONTENT
    assert "is larger than the limit" in refusal(url, tmp_path, limit=3000)
    place.unlink()
    assert "is not there" in refusal(url, tmp_path)


def test_a_file_outside_the_roots_is_not_looked_at(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "shadow").write_bytes(CONTENT)
    (inside / "link").symlink_to(outside / "shadow")
    (inside / "folder").symlink_to(outside)
    places = [outside / "shadow", outside / "nothing", inside / "link", inside / "folder/shadow",
              inside / "../outside/shadow", inside / "%2e%2e/outside/shadow"]  # fmt: skip
    told = {refusal(f"file://{place}", inside, kind=SpecError).partition("' is ")[2] for place in places}
    assert told == {f"outside the folders that a file: URL may name: {inside}"}
    told = {refusal(f"FILE://{place}", inside, kind=SpecError).partition("' is ")[2] for place in places}
    assert told == {f"outside the folders that a file: URL may name: {inside}"}


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        assert "is not a regular file" in refusal(f"file://{tmp_path}/{name}", tmp_path, kind=SpecError)
    with pytest.raises(SpecError, match="is not a regular file"):
        fetch("file:///dev/zero", SHA, tmp_path / "partial", tmp_path / "total", Bounds(("/dev",), LIMIT))


def test_a_zero_byte_in_a_path_is_told(tmp_path: Path) -> None:
    assert "is no path" in refusal(f"file://{tmp_path}/a%00b", tmp_path, kind=SpecError)


def test_a_storage_is_read_through_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (onnxpack[remote])")
    with fsspec.open("memory://bucket/m.onnx", "wb") as stream:
        stream.write(CONTENT)
    (tmp_path / "partial").write_bytes(CONTENT[:5000])
    assert fetched("memory://bucket/m.onnx", tmp_path) == CONTENT
    assert "is not there" in refusal("memory://bucket/other.onnx", tmp_path)
    assert "nothing reads 'nosuch://a/m.onnx'" in refusal("nosuch://a/m.onnx", tmp_path, kind=SpecError)
    (tmp_path / "m.onnx").write_bytes(CONTENT)
    assert "is a file of this machine" in refusal(f"local://{tmp_path}/m.onnx", tmp_path, kind=SpecError)


def test_a_storage_that_hangs_is_given_up(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (onnxpack[remote])")

    class Hanging(fsspec.AbstractFileSystem):  # type: ignore[misc, name-defined] # it has no types
        def open(self, *_: Any, **__: Any) -> Any:
            return SimpleNamespace(seek=lambda at: None, read=lambda size: Event().wait(10), close=lambda: None)

        def size(self, _: str) -> int:
            return len(CONTENT)

    fsspec.register_implementation("hanging", Hanging, clobber=True)
    monkeypatch.setattr(transfer, "WINDOW", 0.1)
    assert "less than 1024 bytes a second came" in refusal("hanging://bucket/m.onnx", tmp_path)


def test_a_storage_without_fsspec_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    assert "'fsspec' is not installed" in refusal("s3://bucket/m.onnx", tmp_path, kind=SourceError)
