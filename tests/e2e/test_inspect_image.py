"""What ``inspect`` says about an image and a bundle agrees with the report of the build that made them."""

import json

from e2e_tools import Built, Workshop


def test_an_image_and_its_bundle(iris: Built, workshop: Workshop) -> None:
    folder = workshop.root / "dist/iris/cpu"
    result = workshop.run("inspect", iris.reference, folder, "--json")
    assert result.code == 0, result.err
    image, bundle = json.loads(result.out)
    told = iris.report["image"]
    assert (image["id"], image["size_bytes"], image["layers"]) == (told["id"], told["size_bytes"], told["layers"])
    assert (image["user"], image["entrypoint"]) == ("65532:65532", ["python3", "-m", "server"])
    assert image["provenance"]["model.sha256"] == iris.report["model"]["sha256"]
    assert image["labels"].items() >= bundle["dockerfile"]["labels"].items()
    assert "onnxruntime" in [package["name"] for package in bundle["packages"]]
    assert bundle["report"]["image"] == told


def test_an_image_that_is_not_there(workshop: Workshop) -> None:
    result = workshop.run("inspect", f"{workshop.repository('nothing')}:1")
    assert result.code == 2
    assert "neither a file nor an image" in result.err
