"""What is fetched is whole and known, or one typed error says why not."""

import hashlib
from pathlib import Path

import pytest
from web import Web, serving, web  # noqa: F401 - a fixture

from onnxpack.errors import EngineError, OnnxpackError, SourceError, SpecError
from onnxpack.fetch import fetch

CONTENT = bytes(range(256)) * 20_000
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _content(web: Web) -> None:  # noqa: F811
    web.content = CONTENT


def fetched(url: str, folder: Path, sha256: str = SHA) -> bytes:
    size = fetch(url, sha256, folder / "partial", folder / "total")
    content = (folder / "partial").read_bytes()
    assert size == len(content)
    return content


def refusal(url: str, folder: Path, sha256: str = SHA, kind: type[OnnxpackError] = EngineError) -> str:
    with pytest.raises(kind) as refused:
        fetched(url, folder, sha256)
    assert type(refused.value) is kind
    (problem,) = refused.value.problems
    assert problem.hint
    return problem.message


def test_a_file_comes_whole(tmp_path: Path, web: Web) -> None:  # noqa: F811
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.ranges == [None]
    assert (tmp_path / "total").read_text() == str(len(CONTENT))


def test_it_goes_on_where_an_earlier_try_stopped(tmp_path: Path, web: Web) -> None:  # noqa: F811
    (tmp_path / "partial").write_bytes(CONTENT[:3000])
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.ranges == ["bytes=3000-"]


def test_what_is_whole_already_is_only_checked(tmp_path: Path, web: Web) -> None:  # noqa: F811
    (tmp_path / "partial").write_bytes(CONTENT)
    assert fetched(web.url, tmp_path) == CONTENT


@pytest.mark.parametrize("start", [CONTENT + b"more", b"another file", b"x" * len(CONTENT)])
def test_a_start_of_another_file_is_replaced(tmp_path: Path, web: Web, start: bytes) -> None:  # noqa: F811
    (tmp_path / "partial").write_bytes(start)
    assert fetched(web.url, tmp_path) == CONTENT


def test_a_server_that_cannot_resume_sends_all_again(tmp_path: Path, web: Web) -> None:  # noqa: F811
    web.resumes = False
    web.script = ["cut"]
    assert fetched(web.url, tmp_path) == CONTENT
    assert web.ranges[1] is not None


@pytest.mark.parametrize("script", [["503"], ["429", "500", "502", "504"], ["reset"], ["cut", "cut", "reset", "503"]])
def test_what_may_pass_is_tried_again(tmp_path: Path, web: Web, script: list[str]) -> None:  # noqa: F811
    web.script = list(script)
    assert fetched(web.url, tmp_path) == CONTENT
    assert len(web.ranges) == len(script) + 1


def test_a_cut_answer_is_resumed_not_begun_again(tmp_path: Path, web: Web) -> None:  # noqa: F811
    web.script = ["cut"]
    fetched(web.url, tmp_path)
    assert web.ranges == [None, f"bytes={len(CONTENT) // 2}-"]


def test_progress_allows_more_tries(tmp_path: Path, web: Web) -> None:  # noqa: F811
    web.script = ["cut", "503", "503", "503"] * 3
    assert fetched(web.url, tmp_path) == CONTENT


@pytest.mark.parametrize("step", ["503", "429", "reset"])
def test_tries_are_bounded(tmp_path: Path, web: Web, step: str) -> None:  # noqa: F811
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
def test_what_cannot_pass_is_told_at_once(tmp_path: Path, web: Web, status: str, words: str) -> None:  # noqa: F811
    web.script = [status] * 50
    assert words in refusal(web.url, tmp_path)
    assert len(web.ranges) == 1


def test_a_wrong_digest_is_refused_and_nothing_stays(tmp_path: Path, web: Web) -> None:  # noqa: F811
    words = refusal(web.url, tmp_path, "0" * 64)
    assert f"its sha256 is {SHA} ({len(CONTENT)} bytes)" in words
    assert not (tmp_path / "partial").exists()


def test_a_host_that_is_not_there(tmp_path: Path, web: Web) -> None:  # noqa: F811
    assert "the server cannot be reached" in refusal("http://127.0.0.1:9/m.onnx", tmp_path)


def test_no_message_shows_a_query(tmp_path: Path, web: Web) -> None:  # noqa: F811
    for web.script in (["404"], ["401"], ["503"] * 9):
        assert "private" not in refusal(f"{web.url}?a=private", tmp_path)
    assert "private" not in refusal(f"{web.url}?a=private", tmp_path, "0" * 64)


def test_a_login_comes_from_netrc_and_stays_at_its_host(
    tmp_path: Path,
    web: Web,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with serving() as other:
        other.content = CONTENT
        web.script = [f"to {other.url}"]
        assert fetched(web.url, tmp_path) == CONTENT
        assert web.logins == ["Basic bWU6c2VjcmV0"]
        assert other.logins == [None]


def test_a_file_url_needs_nothing_installed(tmp_path: Path) -> None:
    place = tmp_path / "a model.onnx"
    place.write_bytes(CONTENT)
    url = f"file://{str(place).replace(' ', '%20')}"
    assert fetched(url, tmp_path) == CONTENT
    place.unlink()
    (tmp_path / "partial").unlink()
    assert "is not there" in refusal(url, tmp_path)


def test_a_storage_is_read_through_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed (onnxpack[remote])")
    with fsspec.open("memory://bucket/m.onnx", "wb") as stream:
        stream.write(CONTENT)
    (tmp_path / "partial").write_bytes(CONTENT[:5000])
    assert fetched("memory://bucket/m.onnx", tmp_path) == CONTENT
    assert "is not there" in refusal("memory://bucket/other.onnx", tmp_path)
    assert "nothing reads 'nosuch://a/m.onnx'" in refusal("nosuch://a/m.onnx", tmp_path, kind=SpecError)


def test_a_storage_without_fsspec_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    assert "'fsspec' is not installed" in refusal("s3://bucket/m.onnx", tmp_path, kind=SourceError)
