"""What a user adds to an image is kept whole, with all that it requires."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.bundle.added import find_whole, keep_added, list_needed
from onnxpack.bundle.closure import find_stale
from onnxpack.bundle.lock import Package, make_unresolved_lock
from onnxpack.spec.model import Spec
from onnxpack.targets import Distribution

SHA = "0123456789abcdef" * 4
PACKAGES = (
    Package("numpy", "2.4.6", (SHA,)),
    Package("httptools", "0.9.0", (SHA,)),
    Package("orjson", "3.12.0", (SHA,)),
    Package("onnxruntime", "1.31.1", (SHA,), ("flatbuffers", "numpy", "packaging", "protobuf")),
)


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., Spec]:
    onnx.save(make_model(RELU), tmp_path / "m.onnx")
    return lambda **fields: write_spec(tmp_path, {"framework": "onnx", "path": "m.onnx"}, **fields).spec


def test_what_is_added_is_whole_with_all_that_it_requires(spec: Callable[..., Spec]) -> None:
    extra = Package("extra", "1", (SHA,), ("protobuf", "numpy"))
    added = spec(image={"requirements": ["Extra[all]~=1.0"]})
    assert find_whole(added, (*PACKAGES, extra)) == {
        "extra": "image.requirements", "protobuf": "extra", "numpy": "extra",
    }  # fmt: skip
    assert find_whole(spec(), (*PACKAGES, extra)) == {}


def test_what_is_added_keeps_a_library_that_the_model_does_not_load() -> None:
    found = (Distribution("nvidia-cudnn-cu13", "9", False, "no operator loads it"), Distribution("a", "1", False, "no"))
    kept = keep_added(found, {"nvidia-cudnn-cu13": "extra"})
    assert kept == (Distribution("nvidia-cudnn-cu13", "9", True, "required by extra"), found[1])


def test_an_unused_package_stays_where_what_is_added_requires_it(spec: Callable[..., Spec]) -> None:
    added = spec(image={"requirements": ["extra"]})
    extra, protobuf = Package("extra", "1", (SHA,), ("protobuf",)), Package("protobuf", "7", (SHA,))
    without = replace(make_unresolved_lock(added, "cpu"), packages=(*PACKAGES, extra))
    assert "'protobuf' is missing" in find_stale(added, {"cpu": without})["cpu"]
    assert find_stale(added, {"cpu": replace(without, packages=(*PACKAGES, extra, protobuf))}) == {}
    bare = replace(make_unresolved_lock(spec(), "cpu"), packages=(*PACKAGES, protobuf))
    assert find_stale(spec(), {"cpu": bare}) == {"cpu": "it holds 'protobuf', which nothing requires"}


def test_what_only_an_unused_package_requires_is_not_needed() -> None:
    hub = Package("huggingface-hub", "1", (SHA,), ("httpx", "typing-extensions"))
    others = tuple(Package(name, "1", (SHA,)) for name in ("httpx", "typing-extensions"))
    packages = (Package("tokenizers", "1", (SHA,), ("huggingface-hub",)), hub, *others)
    unused = frozenset({"huggingface-hub"})
    assert list_needed(("tokenizers>=0.21",), packages, unused) == {"tokenizers"}
    grpc = Package("grpcio", "1", (SHA,), ("typing-extensions",))
    asked = ("grpcio>=1", "tokenizers>=0.21")
    assert list_needed(asked, (*packages, grpc), unused) == {"tokenizers", "grpcio", "typing-extensions"}
    assert list_needed(asked, (*packages, grpc), frozenset()) == {package.name for package in (*packages, grpc)}
