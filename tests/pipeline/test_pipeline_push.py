"""A push goes where the spec says, and never by a bare word."""

from pathlib import Path
from typing import Any

import pytest
from exporting import write_spec
from registries import add_image, running_registry
from told import Told

from onnxpack.cache.store import Store
from onnxpack.core.errors import SpecError
from onnxpack.image.oci import OciEngine
from onnxpack.oci.layout import Layout
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.push import push, require_registry
from onnxpack.pipeline.run import Build, Product


def plan(folder: Path, image: dict[str, Any]) -> Plan:
    (folder / "m.onnx").touch()
    model = {"framework": "onnx", "path": "m.onnx"}
    return Plan(write_spec(folder, model, targets={"t": {}}, image=image), "t", folder / "dist")


@pytest.mark.parametrize("repository", ["registry.example.com/iris", "localhost:5000/iris", "team/iris"])
def test_a_repository_with_a_registry_or_an_owner_can_be_pushed_to(tmp_path: Path, repository: str) -> None:
    asked = plan(tmp_path, {"repository": repository})
    require_registry(asked)
    assert asked.tags("1", "k" * 64)[0].startswith(f"{repository}:")


@pytest.mark.parametrize("image", [{}, {"repository": "iris"}])
def test_a_bare_word_is_refused_with_where_it_is_said(tmp_path: Path, image: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"names no registry to push to .*image\.repository") as caught:
        require_registry(plan(tmp_path, image))
    assert caught.value.problems[0].where


def test_what_a_registry_has_under_all_names_is_not_sent_again(tmp_path: Path) -> None:
    engine = OciEngine(Layout(tmp_path / "images"))
    with running_registry(tmp_path / "registry") as registry:
        asked = plan(tmp_path, {"repository": f"{registry.host}/team/iris"})
        entry = add_image(engine.layout, 1)
        image = engine.find(entry.digest)
        names = asked.tags("1", "k" * 64)
        found, writes = [], []
        for references in (names, names, (*names, f"{registry.host}/team/iris:new")):
            run = Build(asked, Store(tmp_path / "store"), engine, Told())
            pushed = push(run, Product(image=image, references=references)).pushed
            assert pushed == f"{registry.host}/team/iris@{entry.digest}"
            found += [record.cached for record in run.runner.records]
            writes.append(registry.requests("^(POST|PATCH|PUT) "))
    assert found == [False, True, False]
    assert writes[0] == writes[1]
    assert len(writes[2]) == len(writes[1]) + 1
