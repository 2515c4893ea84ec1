"""All that builds need from outside is found, and fetched once for all specs."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from told import Told
from vendoring import MODEL, PACKAGES, Outside, read_lock, write_project

from onnxpack.bundle.lock import lock_path
from onnxpack.cache.store import Store
from onnxpack.core.errors import EngineError, SpecError
from onnxpack.vendor.collect import Chosen, Collection, collect


def test_two_specs_share_what_both_need(collection: Collection, outside: Outside) -> None:
    index = collection.index
    images = {wheel.name.partition("-")[0]: wheel.specs for wheel in index.wheels if wheel.specs != ("other",)}
    assert images == dict.fromkeys(PACKAGES, ("one", "other"))
    (base,) = index.bases
    assert (base.reference, base.platform, base.specs) == (outside.base.pinned, "linux/amd64", ("one", "other"))
    assert base.digest == outside.base.digest
    (source,) = index.sources
    assert (source.sha256, source.size) == (hashlib.sha256(MODEL).hexdigest(), len(MODEL))
    assert (source.url, source.specs) == (outside.model, ("one",))


def test_an_isolated_environment_has_the_wheels_that_it_was_resolved_to(collection: Collection) -> None:
    (environment,) = collection.index.environments
    names = {wheel.sha256: wheel.name.partition("-")[0] for wheel in collection.index.wheels}
    found = {names[sha256] for sha256 in environment.wheels}
    assert {"scikit_learn", "skl2onnx", "msgspec", "numpy"} <= found
    assert environment.specs == ("other",)
    assert "scikit-learn==1.0" in environment.requirements


def test_every_part_has_its_blob(collection: Collection) -> None:
    index = collection.index
    wanted = {f"sha256:{part.sha256}" for part in (*index.wheels, *index.sources)} | {index.bases[0].digest}
    assert wanted <= collection.blobs.keys()
    for digest, path in collection.blobs.items():
        assert digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_all_locks_that_are_missing_or_stale_are_told_at_once(tmp_path: Path, outside: Outside) -> None:
    files = [write_project(tmp_path / name, name, outside) for name in ("one", "two", "three")]
    lock_path(files[0].path).unlink()
    lock_path(files[1].path).write_text(
        lock_path(files[1].path).read_text().replace('"python": "3.11"', '"python": "3.12"')
    )
    with pytest.raises(SpecError) as caught:
        collect([Chosen(file, ("cpu",)) for file in files], Store(tmp_path / "cache"), Told())
    missing, stale = caught.value.problems
    assert (missing.message, missing.hint) == ("there is no lock", f"run `onnxpack lock {files[0].path}`")
    assert "its Python is 3.12, and the spec's is 3.11" in stale.message
    assert stale.hint == f"run `onnxpack lock {files[1].path}`"


def test_an_index_whose_wheels_are_not_the_locked_ones_is_told(tmp_path: Path, outside: Outside) -> None:
    file = write_project(tmp_path / "one", "one", outside)
    text = lock_path(file.path).read_text()
    for package in read_lock(file).packages[:2]:
        text = text.replace(package.hashes[0], "0" * 64)
    lock_path(file.path).write_text(text)
    with pytest.raises((SpecError, EngineError), match=r"httptools"):
        collect([Chosen(file, ("cpu",))], Store(tmp_path / "cache"), Told())


def test_a_model_that_is_not_the_trusted_one_is_told(tmp_path: Path, outside: Outside) -> None:
    file = write_project(tmp_path / "one", "one", outside)
    outside.web.content = b"another model"
    with pytest.raises(EngineError, match="not the file that the spec trusts"):
        collect([Chosen(file, ("cpu",))], Store(tmp_path / "cache"), Told())


def test_wheels_come_from_an_index_over_http(tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_project(tmp_path / "one", "one", outside)
    site = tmp_path / "site"
    for name in PACKAGES:
        (site / "simple" / name).mkdir(parents=True)
        (wheel,) = outside.wheels.glob(f"{name}-{PACKAGES[name]}-*.whl")
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (site / wheel.name).write_bytes(wheel.read_bytes())
        link = f'<a href="../../{wheel.name}#sha256={digest}">{wheel.name}</a>'
        (site / "simple" / name / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    with _serving(site) as url:
        (tmp_path / "uv.toml").write_text(f'index-url = "{url}/simple"\n')
        monkeypatch.setenv("UV_CONFIG_FILE", str(tmp_path / "uv.toml"))
        found = collect([Chosen(file, ("cpu",))], Store(tmp_path / "cache"), Told())
    assert {wheel.name.partition("-")[0] for wheel in found.index.wheels} == set(PACKAGES)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
