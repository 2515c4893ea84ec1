"""What this package pushes Docker pulls, and what Docker has this package pushes: the same image."""

from pathlib import Path
from typing import Any

from e2e_tools import Workshop
from registries import add_image, running_registry
from told import Told

from onnxpack.oci.layout import Layout
from onnxpack.oci.pull import resolve
from onnxpack.oci.push import push
from onnxpack.oci.reference import parse_reference


def test_docker_and_a_push_understand_each_other(engine: Any, workshop: Workshop, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "images")
    image = add_image(layout, 90)
    with running_registry(tmp_path / "registry") as registry:
        name = f"{registry.host}/{workshop.repository('ours')}"
        push(layout, image, [parse_reference(f"{name}:1")], Told())
        for event in engine.pull(name, tag="1", stream=True, decode=True):
            assert "error" not in event, event
        facts = engine.inspect_image(f"{name}:1")
        assert facts["RepoDigests"] == [f"{name}@{image.digest}"]
        assert facts["Id"] == layout.read_manifest(image).config.digest

        other = f"{registry.host}/{workshop.repository('theirs')}"
        engine.tag(facts["Id"], other, "2")
        ended = workshop.run("push", f"{other}:2", "--engine", "docker")
        digest = resolve(parse_reference(f"{other}:2"), "linux/amd64").digest
        assert (ended.code, ended.out) == (0, f"{other}@{digest}\n"), ended.err
        engine.remove_image(facts["Id"], force=True)
        for event in engine.pull(f"{other}@{digest}", stream=True, decode=True):
            assert "error" not in event, event
        assert engine.inspect_image(f"{other}@{digest}")["Id"] == facts["Id"]
        engine.remove_image(facts["Id"], force=True)
