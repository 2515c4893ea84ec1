"""What one machine has made another one takes, from a folder or a real S3 server; what is wrong there is a miss."""

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from shared_stores import Bucket, Machine, bucket, make_machine, s3_server, serve_badly, use_endpoint

from onnxpack.cache import patience
from onnxpack.core.digests import digest
from onnxpack.core.errors import SourceError, SpecError
from onnxpack.pipeline import stores

__all__ = ["bucket", "s3_server"]  # fixtures
KEY = digest("a key")
NAME = f"batch speed/{KEY}"
OBJECT = f"v1/entries/batch_speed/{KEY}.tar.zst"


def fill(machine: Machine, key: str = KEY, text: str = "weights") -> Path:
    with machine.store.making("batch speed", key) as folder:
        (folder / "sub/empty").mkdir(parents=True)
        (folder / "model.onnx").write_text(text)
        (folder / "model.onnx").chmod(0o755)
        (folder / "sub" / ("long" * 60)).write_text("{}")
    machine.remote.finish()
    return machine.store.path("batch speed", key)


def list_files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A shared store of each kind."""
    if request.param == "file":
        return f"file://{tmp_path}/share"
    found = request.getfixturevalue("bucket")
    assert isinstance(found, Bucket)
    return found.url


def test_an_entry_that_one_machine_made_another_one_takes(url: str, tmp_path: Path) -> None:
    first, second = make_machine(tmp_path / "a", url), make_machine(tmp_path / "b", url)
    assert second.store.get("batch speed", KEY) is None
    made = fill(first)
    found = second.store.get("batch speed", KEY)
    assert found == tmp_path / "b/batch speed" / KEY / "data"
    assert list_files(found) == list_files(made)
    assert (found / "sub/empty").is_dir()
    assert os.access(found / "model.onnx", os.X_OK)
    assert second.store.get("batch speed", KEY, here=True) == found
    assert [*first.told, *second.told] == []


def test_traces_of_two_machines_are_both_there(url: str, tmp_path: Path) -> None:
    first, second = make_machine(tmp_path / "a", url), make_machine(tmp_path / "b", url)
    for machine, trace in ((first, b"one"), (second, b"two"), (first, b"one")):
        machine.remote.give_trace("batch speed", KEY, trace)
        machine.remote.finish()
    assert sorted(make_machine(tmp_path / "c", url).remote.list_traces("batch speed", KEY)) == [b"one", b"two"]
    assert second.remote.list_traces("batch speed", digest("another")) == []


def test_many_traces_are_read_up_to_a_number(url: str, tmp_path: Path) -> None:
    machine = make_machine(tmp_path / "a", url)
    for number in range(20):
        machine.remote.give_trace("export", KEY, str(number).encode())
    machine.remote.finish()
    assert len(machine.remote.list_traces("export", KEY)) == 16


def test_nothing_is_written_in_read_mode(url: str, tmp_path: Path) -> None:
    reader = make_machine(tmp_path / "a", url, writes=False)
    fill(reader)
    reader.remote.give_trace("export", KEY, b"one")
    reader.remote.finish()
    other = make_machine(tmp_path / "b", url)
    assert other.store.get("batch speed", KEY) is None
    assert other.remote.list_traces("export", KEY) == []
    assert not (tmp_path / "share").exists()
    fill(other)
    assert make_machine(tmp_path / "c", url, writes=False).store.get("batch speed", KEY)


def test_what_is_there_is_not_written_again(url: str, tmp_path: Path) -> None:
    first = make_machine(tmp_path / "a", url)
    fill(first, text="first")
    fill(make_machine(tmp_path / "b", url), text="second")
    taken = make_machine(tmp_path / "c", url).store.get("batch speed", KEY)
    assert taken
    assert (taken / "model.onnx").read_text() == "first"


def test_entries_of_this_machine_alone_are_not_shared(tmp_path: Path) -> None:
    machine = make_machine(tmp_path / "a", f"file://{tmp_path}/share")
    with machine.store.without_sharing().making("environment", KEY) as folder:
        (folder / "python").symlink_to("/usr/bin/python3")
        (folder / "cfg").touch()
    machine.remote.finish()
    assert not (tmp_path / "share").exists()


def test_an_entry_with_links_is_not_shared(tmp_path: Path) -> None:
    machine = make_machine(tmp_path / "a", f"file://{tmp_path}/share")
    with machine.store.making("export", KEY) as folder:
        (folder / "file").touch()
        (folder / "link").symlink_to("file")
    machine.remote.finish()
    assert not list((tmp_path / "share").rglob("*.zst"))


def pack_tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return zstandard.compress(buffer.getvalue())


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.linkname = kind, link
    return found


def manifest(name: str = NAME, **files: bytes) -> tuple[tarfile.TarInfo, bytes]:
    digests = {key: hashlib.sha256(data).hexdigest() for key, data in files.items()}
    return member("manifest.json"), json.dumps({"entry": name, "files": digests}).encode()


GOOD = (manifest(model=b"weights"), (member("data/model"), b"weights"))
POISON: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda whole: whole[: len(whole) // 2],
    "empty": lambda whole: b"",
    "flipped bit": lambda whole: whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:],
    "no archive": lambda whole: b"<html>login</html>",
    "a plain tar": lambda whole: zstandard.decompress(pack_tar(*GOOD)),
    "another entry": lambda _: pack_tar(manifest(f"batch speed/{digest('b')}", model=b"weights"), GOOD[1]),
    "another stage": lambda _: pack_tar(manifest(f"export/{KEY}", model=b"weights"), GOOD[1]),
    "another file": lambda _: pack_tar(GOOD[0], (member("data/model"), b"weighus")),
    "a file more": lambda _: pack_tar(*GOOD, (member("data/more"), b"")),
    "a file less": lambda _: pack_tar(GOOD[0]),
    "a name twice": lambda _: pack_tar(*GOOD, GOOD[1]),
    "no manifest": lambda _: pack_tar(GOOD[1]),
    "a manifest that is none": lambda _: pack_tar((member("manifest.json"), b"[" * 100_000), GOOD[1]),
    "a way out": lambda _: pack_tar(*GOOD, (member("data/../../../../out"), b"x")),
    "an absolute name": lambda _: pack_tar(*GOOD, (member("/tmp/out"), b"x")),
    "a name beside": lambda _: pack_tar(*GOOD, (member("elsewhere/file"), b"x")),
    "a link": lambda _: pack_tar(*GOOD, (member("data/link", tarfile.SYMTYPE, "/etc/passwd"), b"")),
    "a link, and a file behind it": lambda _: pack_tar(
        *GOOD, (member("data/link", tarfile.SYMTYPE, "/tmp"), b""), (member("data/link/out"), b"x")
    ),
    "a hard link": lambda _: pack_tar(*GOOD, (member("data/link", tarfile.LNKTYPE, "/etc/passwd"), b"")),
    "a pipe": lambda _: pack_tar(*GOOD, (member("data/pipe", tarfile.FIFOTYPE), b"")),
    "a device": lambda _: pack_tar(*GOOD, (member("data/null", tarfile.CHRTYPE), b"")),
    "a file that is a folder": lambda _: pack_tar(*GOOD, (member("data/model/below"), b"x")),
    "a long name": lambda _: pack_tar(*GOOD, (member("data/" + "n" * 300), b"x")),
    "a header without end": lambda _: pack_tar(*GOOD, (member("data/x", tarfile.XHDTYPE), b"9" * 2**20)),
    "a name of a megabyte": lambda _: pack_tar(
        *GOOD, (member("././@LongLink", tarfile.GNUTYPE_LONGNAME), b"n" * 2**20)
    ),
    "an octal size that lies": lambda _: zstandard.compress(zstandard.decompress(pack_tar(*GOOD))[:700]),
}


@pytest.mark.case("B8")
@pytest.mark.parametrize("poison", POISON)
def test_what_is_wrong_there_is_a_miss_that_is_told_once_and_replaced(poison: str, tmp_path: Path) -> None:
    share, address = tmp_path / "share", f"file://{tmp_path}/share"
    fill(make_machine(tmp_path / "a", address))
    whole = (share / OBJECT).read_bytes()
    bad = POISON[poison](whole)
    assert bad != whole
    (share / OBJECT).write_bytes(bad)
    victim = make_machine(tmp_path / "b", address)
    assert [victim.store.get("batch speed", KEY) for _ in range(2)] == [None, None]
    (line,) = victim.told
    assert line.startswith(f"the shared store {address}: '{NAME}' is damaged and is not used: ")
    assert [path for path in (tmp_path / "b").rglob("*") if path.is_file()] == []
    fill(victim)
    assert (share / OBJECT).read_bytes() == whole
    assert make_machine(tmp_path / "c", address).store.get("batch speed", KEY)


@pytest.mark.case("B8")
def test_a_trace_that_is_not_that_of_its_name_is_told_and_left_out(tmp_path: Path) -> None:
    machine = make_machine(tmp_path / "a", f"file://{tmp_path}/share")
    machine.remote.give_trace("export", KEY, b"one")
    machine.remote.finish()
    (place,) = (path for path in (tmp_path / "share").rglob("*") if path.is_file())
    place.write_bytes(b"two")
    (place.parent / "odd name").write_bytes(b"two")
    assert machine.remote.list_traces("export", KEY) == []
    assert len(machine.told) == 1


def test_too_many_files_and_too_large_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"file://{tmp_path}/share"
    fill(make_machine(tmp_path / "a", address))
    for name in ("_MOST_FILES", "_MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(f"onnxpack.cache.packing.{name}", 2)
            victim = make_machine(tmp_path / name, address)
            assert victim.store.get("batch speed", KEY) is None
            assert len(victim.told) == 1


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patience of a second and a half."""
    monkeypatch.setattr(patience, "_BUDGET", 1.5)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("does", "words"),
    [
        ("hang", "it does not answer in time"),
        ("drip", "it does not answer in time"),
        ("403", "it refuses access"),
        ("500", "it fails with|it does not answer in time|it is too slow|it cannot be reached"),
        ("cut", "it fails with|it cannot be reached|it does not answer in time|is damaged"),
    ],
)
def test_a_server_that_misbehaves_is_told_once_and_asked_no_more(
    does: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed (onnxpack[remote])")
    with serve_badly(does) as server:
        use_endpoint(monkeypatch, server.url)
        machine = make_machine(tmp_path / "a", "s3://bucket/prefix")
        for number in range(30):
            assert machine.store.get("export", digest(number)) is None
        fill(machine)
        assert machine.store.get("batch speed", KEY)
        (line,) = machine.told
        assert any(one in line for one in words.split("|")), line
        assert "private" not in line
        asked = server.requests
        machine.store.get("export", digest("one more"))
        assert server.requests == asked


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_not_there_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed (onnxpack[remote])")
    use_endpoint(monkeypatch, "http://127.0.0.1:1")
    machine = make_machine(tmp_path / "a", "s3://bucket/prefix")
    assert [machine.store.get("export", digest(number)) for number in range(5)] == [None] * 5
    assert len(machine.told) == 1
    again = make_machine(tmp_path / "a", "s3://bucket/prefix")  # another process of the same build
    assert again.store.get("export", KEY) is None
    assert again.told[0].startswith("the shared store s3://bucket/prefix: it is not asked: ")


def test_a_bucket_that_is_not_there_is_told(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_endpoint(monkeypatch, s3_server)
    machine = make_machine(tmp_path / "a", "s3://nobucket/prefix")
    machine.remote.list_traces("export", KEY)
    fill(machine)
    assert machine.told
    assert all("bucket" in line for line in machine.told)


def test_a_folder_that_is_not_mounted_is_told_and_not_made(tmp_path: Path) -> None:
    machine = make_machine(tmp_path / "a", f"file://{tmp_path}/mount/share")
    for number in range(5):
        assert machine.store.get("export", digest(number)) is None
    fill(machine)
    assert not (tmp_path / "mount").exists()
    assert machine.told == [
        f"the shared store file://{tmp_path}/mount/share: the folder that it is in is not there: "
        "the build goes on without it"
    ]


def test_a_disk_without_room_is_this_machines_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"file://{tmp_path}/share"
    fill(make_machine(tmp_path / "a", address))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnxpack.cache.objects._copy", fail)
    machine = make_machine(tmp_path / "b", address)
    with pytest.raises(OSError, match="No space left"):
        machine.store.get("batch speed", KEY)
    assert machine.told == []


def test_what_cannot_be_shared_in_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpack.cache.uploads._WAIT", 0.1)
    going_on = threading.Event()
    machine = make_machine(tmp_path / "a", f"file://{tmp_path}/share")
    monkeypatch.setattr(machine.remote._objects, "upload", lambda *_: going_on.wait(20))
    fill(machine)
    going_on.set()
    assert machine.told == [
        f"the shared store file://{tmp_path}/share: 1 result could not be put there in time: the next build does that"
    ]
    assert not [path for path in (tmp_path / "a").iterdir() if path.name.startswith(".onnxpack-")]


def test_entries_of_the_same_files_are_the_same_object(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fill(make_machine(tmp_path / name, f"file://{tmp_path}/share-{name}"))
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / f"share-{name}").rglob("*.zst")} for name in "ab"
    )
    assert first == second
    assert len(first) == 1


@pytest.mark.parametrize(
    ("variables", "kind", "words"),
    [
        ({"ONNXPACK_REMOTE_CACHE": "file:///absolute/x"}, None, ""),
        ({"ONNXPACK_REMOTE_CACHE": "file://relative/x"}, SpecError, "must be an absolute path"),
        ({"ONNXPACK_REMOTE_CACHE": "share"}, SpecError, "must be an absolute path"),
        ({"ONNXPACK_REMOTE_CACHE": "s3://"}, SpecError, "names no bucket"),
        ({"ONNXPACK_REMOTE_CACHE": "gopher://x/y"}, SpecError, "nothing reads gopher: URLs"),
        ({"ONNXPACK_REMOTE_CACHE": "az://x/y"}, SourceError, r"pip install 'onnxpack\[remote\]'"),
        ({"ONNXPACK_REMOTE_CACHE_MODE": "none"}, SpecError, "must be read or write"),
    ],
)
def test_variables_that_cannot_be_meant(
    variables: dict[str, str], kind: type[Exception] | None, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ONNXPACK_CACHE", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    if kind is None:
        assert stores.open_store().shared
        return
    with pytest.raises(kind, match=words):
        stores.open_store()
