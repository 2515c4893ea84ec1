"""A spec that names its model by URL builds as if the file lay beside it."""

import hashlib
from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import export_in_child, write_spec
from onnx_examples import RELU, make_model
from told import Told
from web import Web, web  # noqa: F401 - a fixture

from onnxpack.errors import EngineError, SpecError
from onnxpack.remote import brought_here
from onnxpack.spec.load import SpecFile
from onnxpack.store import Store
from onnxpack.verify import require

MODEL = make_model(RELU).SerializeToString()
SHA = hashlib.sha256(MODEL).hexdigest()


@pytest.fixture
def store(tmp_path: Path, web: Web) -> Store:  # noqa: F811
    web.content = MODEL
    return Store(tmp_path / "store")


def spec(folder: Path, url: str, sha256: str = SHA, **fields: Any) -> SpecFile:
    (folder / "spec").mkdir(exist_ok=True)
    return write_spec(folder / "spec", {"framework": "onnx", "path": url, "sha256": sha256} | fields)


def test_the_model_is_fetched_once_and_then_stands_in_the_store(tmp_path: Path, web: Web, store: Store) -> None:  # noqa: F811
    told = Told()
    file = brought_here(spec(tmp_path, web.url), store, told)
    path = file.resolve(web.url)
    assert path.name == "m.onnx"
    assert path.read_bytes() == MODEL
    assert told.lines[:2] == ["fetch", web.url]
    assert told.lines[-1] == f"{len(MODEL) / 1e6:.1f} MB, digest verified"  # on a slow machine behind others
    web.script = ["404"]
    assert brought_here(spec(tmp_path, web.url), store, told).resolve(web.url) == path
    assert len(web.ranges) == 1


def test_a_fetched_model_is_exported(tmp_path: Path, web: Web, store: Store) -> None:  # noqa: F811
    made = export_in_child(brought_here(spec(tmp_path, web.url), store, Told()), tmp_path / "made", store.root)
    require("fetched", made.rows())
    assert list(made.trace.files) == []


def test_one_flipped_bit_is_fetched_again(tmp_path: Path, web: Web, store: Store) -> None:  # noqa: F811
    path = brought_here(spec(tmp_path, web.url), store, Told()).resolve(web.url)
    path.write_bytes(bytes([MODEL[0] ^ 1]) + MODEL[1:])
    brought_here(spec(tmp_path, web.url), store, Told())
    assert path.read_bytes() == MODEL
    assert len(web.ranges) == 2


def test_what_an_earlier_build_fetched_is_used(tmp_path: Path, web: Web, store: Store) -> None:  # noqa: F811
    web.script = ["cut", "404"]
    with pytest.raises(EngineError):
        brought_here(spec(tmp_path, web.url), store, Told())
    told = Told()
    assert brought_here(spec(tmp_path, web.url), store, told).resolve(web.url).read_bytes() == MODEL
    assert web.ranges[2] == f"bytes={len(MODEL) // 2}-"
    assert told.lines[1] == f"{web.url}, from byte {len(MODEL) // 2} on"


def test_another_file_than_the_spec_trusts_leaves_nothing(tmp_path: Path, web: Web, store: Store) -> None:  # noqa: F811
    with pytest.raises(EngineError, match="not the file that the spec trusts"):
        brought_here(spec(tmp_path, web.url, "0" * 64), store, Told())
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_a_file_url_outside_the_project_is_refused_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store
) -> None:
    (tmp_path / "m.onnx").write_bytes(MODEL)
    url = f"file://{tmp_path}/m.onnx"
    with pytest.raises(SpecError) as refused:
        brought_here(spec(tmp_path, url), store, Told())
    (problem,) = refused.value.problems
    assert problem.where
    assert problem.where.line == 1
    assert "ONNXPACK_FILE_ROOTS" in problem.hint
    assert SHA not in str(refused.value)
    monkeypatch.setenv("ONNXPACK_FILE_ROOTS", f"/nonexistent:{tmp_path}")
    assert brought_here(spec(tmp_path, url), store, Told()).resolve(url).read_bytes() == MODEL
    monkeypatch.delenv("ONNXPACK_FILE_ROOTS")
    with pytest.raises(SpecError, match="outside the folders"):  # also what the store has by now
        brought_here(spec(tmp_path, url), store, Told())


def test_a_file_url_inside_the_project_is_read(tmp_path: Path, store: Store) -> None:
    (tmp_path / "spec").mkdir()
    (tmp_path / "spec/m.onnx").write_bytes(MODEL)
    url = f"file://{tmp_path}/spec/m.onnx"
    assert brought_here(spec(tmp_path, url), store, Told()).resolve(url).read_bytes() == MODEL


def test_the_limit_of_the_environment_counts(
    tmp_path: Path,
    web: Web,  # noqa: F811
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONNXPACK_MAX_DOWNLOAD", "10B")
    with pytest.raises(EngineError, match="is larger than the limit of 10 B"):
        brought_here(spec(tmp_path, web.url), store, Told())
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("ONNXPACK_MAX_DOWNLOAD", "much", "ONNXPACK_MAX_DOWNLOAD must be a size, not 'much'"),
        ("ONNXPACK_FILE_ROOTS", "models", "ONNXPACK_FILE_ROOTS names the relative path 'models'"),
    ],
)
def test_a_variable_that_cannot_be_read_is_told(
    tmp_path: Path,
    web: Web,  # noqa: F811
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=words):
        brought_here(spec(tmp_path, web.url), store, Told())


def test_local_files_stay_where_they_are(tmp_path: Path, store: Store) -> None:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    file = write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"})
    assert brought_here(file, store, Told()) is file


def test_weights_come_from_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
    pytest.importorskip("s3fs", reason="s3fs is not installed (onnxpack[remote])")
    moto = pytest.importorskip("moto.server", reason="moto's server is not installed: no S3 to test against")
    import boto3

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "private",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():  # fmt: skip
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="models")
        client.put_object(Bucket="models", Key="a/m.onnx", Body=MODEL)
        url = "s3://models/a/m.onnx"
        file = brought_here(spec(tmp_path, url), store, Told())
        assert file.resolve(url).read_bytes() == MODEL
        with pytest.raises(EngineError, match="is not there"):
            brought_here(spec(tmp_path, "s3://models/a/other.onnx"), store, Told())
    finally:
        server.stop()
