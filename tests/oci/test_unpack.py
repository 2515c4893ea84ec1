"""An image of anybody is unpacked into its folder as a container engine would, and nothing gets outside of it."""

import gzip
import io
import json
import os
import stat
import tarfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxpack.core.errors import EngineError
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.oci import streams, unpack
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import CONFIG, LAYER, Manifest, compute_digest

Entry = tuple[str, bytes, object]
"""A name, a kind as ``tarfile`` has it, and the bytes of a file, the target of a link, or a mode."""
FILE, FOLDER, LINK, HARD = tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
FIFO, DEVICE = tarfile.FIFOTYPE, tarfile.CHRTYPE


def make_layer(entries: Sequence[Entry], **fields: object) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, content in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mtime = kind, 1000.0
            entry.mode = content if isinstance(content, int) else 0o644
            if isinstance(content, str):
                entry.linkname = content
            data = content if isinstance(content, bytes) else b""
            entry.size = len(data)
            for key, value in fields.items():
                setattr(entry, key, value)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def make_image(layout: Layout, *layers: bytes, compression: str = "gzip") -> Manifest:
    """Put an image of layers into a layout, and return its manifest."""
    compress: dict[str, Callable[[bytes], bytes]] = {
        "": bytes,
        "+gzip": lambda data: gzip.compress(data[:1000]) + gzip.compress(data[1000:]),
        "+zstd": zstandard.ZstdCompressor().compress,
    }
    kind = f"+{compression}" if compression else ""
    blobs = tuple(layout.add(compress[kind](layer), f"{LAYER}{kind}") for layer in layers)
    return Manifest(layout.add(make_config(*layers), CONFIG), blobs)


def make_config(*layers: bytes) -> bytes:
    return json.dumps({"rootfs": {"diff_ids": [compute_digest(layer) for layer in layers]}}).encode()


class Place:
    """A folder to unpack into, and what lies beside it."""

    def __init__(self, folder: Path) -> None:
        self.layout, self.root, self.beside = Layout(folder / "images"), folder / "root", folder / "beside"
        self.root.mkdir()
        self.beside.mkdir()
        (self.beside / "kept").write_text("kept")

    def unpack(self, *layers: Sequence[Entry] | bytes, compression: str = "gzip") -> None:
        tars = [layer if isinstance(layer, bytes) else make_layer(layer) for layer in layers]
        unpack.unpack(self.layout, make_image(self.layout, *tars, compression=compression), self.root)

    def list(self) -> dict[str, str]:
        """Return what is in the folder: the text of a file, ``/`` for a folder, or the target of a link."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            text = f"-> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else path.read_text()
            found[path.relative_to(self.root).as_posix()] = text
        return found

    def is_unharmed(self) -> bool:
        return [path.name for path in self.beside.iterdir()] == ["kept"] and (
            self.beside / "kept"
        ).read_text() == "kept"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("compression", ["", "gzip", "zstd"])
def test_files_folders_and_links_are_unpacked_layer_by_layer(place: Place, compression: str) -> None:
    first: list[Entry] = [
        ("./", FOLDER, 0o755), ("./etc/", FOLDER, 0o750), ("etc/a", FILE, b"1"), ("/etc/b", FILE, b"2"),
        ("deep/er/x", FILE, b"x"), ("etc/l", LINK, "/etc/a"), ("etc/h", HARD, "etc/a"), ("bin", LINK, "usr/bin"),
        ("etc/sub", LINK, "conf"),
        ("big", FILE, b"7" * 3_000_000),
    ]  # fmt: skip
    place.unpack(
        first, [("etc/a", FILE, b"new"), ("bin/tool", FILE, b"t"), ("etc/sub/c", FILE, b"c")], compression=compression
    )
    found = place.list()
    assert len(found.pop("big")) == 3_000_000
    assert found == {
        "bin": "-> usr/bin", "deep": "/", "deep/er": "/", "deep/er/x": "x", "etc": "/", "etc/a": "new", "etc/b": "2",
        "etc/conf": "/", "etc/conf/c": "c", "etc/sub": "-> conf", "etc/h": "1", "etc/l": "-> /etc/a", "usr": "/",
        "usr/bin": "/", "usr/bin/tool": "t",
    }  # fmt: skip
    assert stat.S_IMODE((place.root / "etc").stat().st_mode) == 0o750
    assert (place.root / "etc/b").stat().st_mtime == 1000.0


def test_a_whiteout_hides_what_lower_layers_have_and_nothing_of_its_own(place: Place) -> None:
    first: list[Entry] = [(f"{folder}/{name}", FILE, b"1") for folder in "abc" for name in ("one", "two")]
    second: list[Entry] = [
        ("a/three", FILE, b"3"), ("a/.wh..wh..opq", FILE, b""), ("b/.wh.one", FILE, b""), (".wh.c", FILE, b""),
        ("c/new", FILE, b"4"), (".wh.nothing", FILE, b""), (".wh..wh.plnk/1.2", FILE, b""),
    ]  # fmt: skip
    place.unpack(first, second, [("c/.wh.new", FILE, b""), ("c/new2", FILE, b"5")])
    found = {name: text for name, text in place.list().items() if not name.startswith(".wh.")}
    assert found == {"a": "/", "a/three": "3", "b": "/", "b/two": "1", "c": "/", "c/new2": "5"}


def test_a_whiteout_behind_the_file_of_its_layer_leaves_it(place: Place) -> None:
    place.unpack(
        [("a/x", FILE, b"1"), ("a/y", FILE, b"1")],
        [("a/x", FILE, b"2"), ("a/.wh..wh..opq", FILE, b""), (".wh.a", FILE, b"")],
    )
    assert place.list() == {"a": "/", "a/x": "2"}


def test_an_entry_takes_the_place_of_one_of_another_kind(place: Place) -> None:
    place.unpack(
        [("a/b", FILE, b"1"), ("c", FILE, b"1"), ("d", LINK, "c"), ("e", LINK, "a"), ("f", FILE, b"1")],
        [("a", FILE, b"2")],
        [("d", FILE, b"3"), ("e", FOLDER, 0o755), ("f", LINK, "d"), ("c", FOLDER, 0o755)],
    )
    assert place.list() == {"a": "2", "c": "/", "d": "3", "e": "/", "f": "-> d"}


def test_a_hard_linked_file_that_is_replaced_leaves_the_other(place: Place) -> None:
    place.unpack([("a", FILE, b"1"), ("b", HARD, "a"), ("l", LINK, "gone"), ("m", HARD, "/l")], [("b", FILE, b"2")])
    assert place.list() == {"a": "1", "b": "2", "l": "-> gone", "m": "-> gone"}


def test_no_file_changes_its_user_and_devices_are_left_out(place: Place) -> None:
    place.unpack(
        make_layer([("su", FILE, b""), ("d", FOLDER, 0o755)], mode=0o7777), [("p", FIFO, b""), ("null", DEVICE, 0o666)]
    )
    assert stat.S_IMODE((place.root / "su").stat().st_mode) == 0o777
    assert stat.S_IMODE((place.root / "d").stat().st_mode) == 0o1777
    assert sorted(place.list()) == ["d", "su"]


def test_files_get_their_owners_from_root_and_modes_that_others_can_work_with(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, int, int]] = []
    monkeypatch.setattr(os, "lchown", lambda path, user, group: given.append((Path(path).name, user, group)))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    place.unpack(
        make_layer([("a", FILE, b""), ("b", LINK, "a")], uid=65532, gid=7), make_layer([("c", FILE, b"")], uid=2**20)
    )
    assert given == [("a", 65532, 7), ("b", 65532, 7)]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (place.root / "next").mkdir()
    place.root /= "next"
    place.unpack(make_layer([("d", FOLDER, 0), ("d/x", FILE, b"")], mode=0))
    assert [oct(stat.S_IMODE((place.root / name).stat().st_mode)) for name in ("d", "d/x")] == ["0o700", "0o400"]
    assert len(given) == 2


HOSTILE: dict[str, list[Sequence[Entry]]] = {
    "a name that leads out": [[("../beside/new", FILE, b"x")]],
    "a name that leads out later": [[("a/b/../../../beside/new", FILE, b"x")]],
    "a hard link that leads out": [[("a", HARD, "../beside/kept"), ("a", FILE, b"x")]],
    "a hard link to nothing": [[("a", HARD, "beside/kept")]],
    "a hard link to a folder": [[("d", FOLDER, 0o755), ("a", HARD, "d")]],
    "a file in a file": [[("a", FILE, b"x"), ("a/b", FILE, b"x")]],
    "links in a circle": [[("a", LINK, "b"), ("b", LINK, "a"), ("a/x", FILE, b"x")]],
    "too deep": [[("a/" * 200 + "b", FILE, b"x")]],
    "deeper by links": [[("a/" * 60, FOLDER, 0o755), ("l", LINK, "a/" * 60), ("l/" + "c/" * 60, FOLDER, 0o755)]],
    "a name that is too long": [[("n" * 300, FILE, b"x")]],
    "an unknown kind": [[("a", b"Z", b"")]],
    "a whiteout of nothing": [[(".wh.", FILE, b"")]],
    "a whiteout of the folder above": [[("a/.wh...", FILE, b"")]],
    "a sparse file": [[("a", tarfile.GNUTYPE_SPARSE, b"")]],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_layer_is_an_error_of_the_image(place: Place, name: str) -> None:
    with pytest.raises(EngineError) as failed:
        place.unpack(*HOSTILE[name])
    assert "image" in str(failed.value)
    assert failed.value.problems[0].hint
    assert place.is_unharmed()


@pytest.mark.parametrize("target", ["/", "../beside", "../../../../../beside", "{beside}", "..", "a/../../beside"])
def test_links_lead_to_places_in_the_folder(place: Place, target: str) -> None:
    target = target.format(beside=place.beside)
    place.unpack(
        [("a/l", LINK, target)], [("a/l/kept", FILE, b"x"), ("a/l/new/y", FILE, b"x"), ("a/l/.wh.kept", FILE, b"")]
    )
    assert place.is_unharmed()
    assert len([name for name in place.list() if name.endswith(("kept", "new/y"))]) == 2


def test_a_hard_link_to_a_link_that_leads_out_is_never_written_through(place: Place) -> None:
    place.unpack([("a", LINK, str(place.beside / "kept")), ("b", HARD, "a"), ("b", FILE, b"x"), ("a", FILE, b"y")])
    assert place.is_unharmed()
    assert place.list() == {"a": "y", "b": "x"}


def _long_header() -> bytes:
    entry = tarfile.TarInfo("././@LongLink")
    entry.type, entry.size = tarfile.GNUTYPE_LONGNAME, 2**26
    return entry.tobuf(tarfile.GNU_FORMAT) + b"\0" * 2**26


def _header(size: int) -> bytes:
    entry = tarfile.TarInfo("a")
    entry.size = size
    return entry.tobuf(tarfile.GNU_FORMAT)


ODD = {
    "nothing": b"",
    "text": b"x" * 5000,
    "cut in a file": make_layer([("a", FILE, b"1" * 5000)])[:2000],
    "garbage behind a file": make_layer([("a", FILE, b"1")])[:1024] + b"x" * 1024,
    "a size that leads back": _header(1) + b"\0" * 512 + _header(-4096),
    "a size beyond all": _header(2**62),
    "a thousand headers of headers": b"".join(
        tarfile.TarInfo.create_pax_global_header({"comment": str(number)}) for number in range(3000)
    ),
}
"""What is no archive; its digests are right."""


@pytest.mark.parametrize("name", ODD)
def test_a_layer_that_is_no_archive_is_an_error_of_the_image(place: Place, name: str) -> None:
    with pytest.raises(EngineError, match=r"a layer is no archive|is of the unknown kind"):
        place.unpack(ODD[name])


def test_a_header_is_not_held_in_memory_whatever_its_size(place: Place) -> None:
    with pytest.raises(EngineError, match="a header asks for 67108864 bytes"):
        place.unpack(_long_header())


def test_an_odd_time_is_left_out_and_an_odd_name_kept(place: Place) -> None:
    entry = tarfile.TarInfo("caf\udce9")
    entry.pax_headers = {"mtime": "1e400"}
    place.unpack(entry.tobuf(tarfile.PAX_FORMAT) + b"\0" * 1024)
    assert [os.fsencode(path.name) for path in place.root.iterdir()] == [b"caf\xe9"]


def test_a_layer_may_not_grow_without_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_LEAST_LIMIT", 10_000)
    monkeypatch.setattr(streams, "_RATIO", 10)
    with pytest.raises(EngineError, match="a layer has more than 10000 bytes"):
        place.unpack([("a", FILE, b"\0" * 100_000)])
    assert sum(path.stat().st_size for path in place.root.iterdir()) <= 10_000


def test_an_image_may_not_have_files_without_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_MOST_ENTRIES", 5)
    with pytest.raises(EngineError, match="more than 5 files"):
        place.unpack([(f"a{number}", FILE, b"") for number in range(4)], [("b", FILE, b""), ("c", FILE, b"")])


@pytest.mark.parametrize("what", ["blob", "content", "size", "count", "config", "cut", "missing"])
def test_every_digest_is_compared(place: Place, what: str) -> None:
    layout = place.layout
    good = make_layer([("a", FILE, os.urandom(5000))])
    manifest = make_image(layout, good)
    blob = manifest.layers[0]
    if what == "content":
        manifest = replace(manifest, config=layout.add(make_config(good + b"\0"), CONFIG))
    elif what == "count":
        manifest = replace(manifest, config=layout.add(make_config(good, good), CONFIG))
    elif what == "size":
        manifest = replace(manifest, layers=(replace(blob, size=blob.size + 1),))
    elif what == "missing":
        layout.path(blob.digest).unlink()
    else:
        path = layout.path(manifest.config.digest if what == "config" else blob.digest)
        data = path.read_bytes()
        path.write_bytes(data[:-20] if what == "cut" else data + b" " if what == "config" else gzip.compress(good, 1))
    with pytest.raises(EngineError):
        unpack.unpack(layout, manifest, place.root)


NAMES = st.sampled_from(
    ["a", "b", "a/b", "a/b/c", "b/l", "../x", "/a", ".wh.a", "a/.wh..wh..opq", "a/.wh.b", "./a/./b/", "x"]
)
TARGETS = st.sampled_from(["a", "b", "..", "/", "../..", "/a/b", "../beside", "b/l", "x", "../../beside/kept"])
ENTRIES = st.tuples(NAMES, st.sampled_from([FILE, FOLDER, LINK, HARD, FIFO]), TARGETS | st.sampled_from([b"", b"x"]))


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(layers=st.lists(st.lists(ENTRIES, max_size=8), min_size=1, max_size=3))
def test_whatever_layers_hold_they_change_their_folder_alone(layers: list[list[Entry]]) -> None:
    with make_temporary_folder() as folder:
        place = Place(folder)
        fitting = [[(name, kind, _fit(kind, content)) for name, kind, content in entries] for entries in layers]
        with suppress(EngineError):
            place.unpack(*fitting)
        assert place.is_unharmed()


def _fit(kind: bytes, content: object) -> object:
    """Return content that an entry of that kind can have."""
    if kind in (LINK, HARD):
        return content if isinstance(content, str) else "a"
    return content if isinstance(content, bytes) and kind == FILE else b""
