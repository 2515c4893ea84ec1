"""The base image: a spec can name it by its digest, and the report says which one it was."""

from pathlib import Path
from typing import Any

import onnx
import pytest
from exporting import write_spec
from onnx_examples import RELU, make_model

from onnxpack.core.errors import SpecError
from onnxpack.image.base_probe import BaseSystem
from onnxpack.image.docker import DockerEngine
from onnxpack.image.engine import Image
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.report import Attempt, describe_attempt
from onnxpack.pipeline.run import Product

SYSTEM = BaseSystem("3.11.2", "CPython", False, "glibc 2.36", "x86_64", True)
SAID = {"python": "3.11.2", "libc": "glibc 2.36"}
PINNED = "registry.example.com:5000/python@sha256:" + "0f" * 32


def plan(folder: Path, base: str) -> Plan:
    onnx.save(make_model(RELU), folder / "m.onnx")
    return Plan(write_spec(folder, {"framework": "onnx", "path": "m.onnx"}, image={"base": base}), "cpu", folder)


def test_a_base_by_its_digest_is_taken(tmp_path: Path) -> None:
    assert plan(tmp_path, PINNED).base == PINNED


@pytest.mark.parametrize("base", [PINNED[:-1], "python@sha256", "python@md5:00", "@sha256:" + "0f" * 32, f"{PINNED}@x"])
def test_a_base_by_half_a_digest_is_refused(tmp_path: Path, base: str) -> None:
    with pytest.raises(SpecError, match="is not an image reference"):
        plan(tmp_path, base)


def test_document_of_an_image_names_its_base_with_the_digest(tmp_path: Path) -> None:
    image = Image("sha256:1", 5, (), {})
    asked = plan(tmp_path, "debian:12")

    def base_of(base: Image) -> Any:
        return describe_attempt(Attempt(asked, "image", (), Product(base=base, system=SYSTEM, image=image)))["image"][
            "base"
        ]

    pulled = Image("sha256:2", 3, (), {}, "sha256:ab")
    assert base_of(pulled) == {"reference": "debian:12", "id": "sha256:2", "digest": "sha256:ab", **SAID}
    assert base_of(image) == {"reference": "debian:12", "id": "sha256:1", "digest": None, **SAID}


class Client:
    """What an engine says of an image."""

    def __init__(self, digests: list[str] | None) -> None:
        self.digests = digests

    def inspect_image(self, reference: str) -> dict[str, Any]:
        return {"Id": "sha256:1", "Size": 3, "RootFS": {}, "Config": {}, "RepoDigests": self.digests}

    def history(self, image: str) -> list[dict[str, Any]]:
        return []


@pytest.mark.parametrize(
    ("digests", "expected"), [(["a@sha256:ab", "b@sha256:ab"], "sha256:ab"), ([], None), (None, None)]
)
def test_find_tells_the_digest_that_a_registry_gave(digests: list[str] | None, expected: str | None) -> None:
    engine = DockerEngine()
    engine.__dict__["client"] = Client(digests)
    found = engine.find("a")
    assert found
    assert found.digest == expected
