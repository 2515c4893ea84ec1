"""A push goes where the spec says, and never by a bare word."""

from pathlib import Path
from typing import Any

import pytest
from exporting import write_spec

from onnxpack.core.errors import SpecError
from onnxpack.pipeline.plan import Plan
from onnxpack.pipeline.push import require_registry


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
