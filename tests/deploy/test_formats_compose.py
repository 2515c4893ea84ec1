"""A Compose file is what the Compose specification says, and as confined as a container is tested."""

import json
from pathlib import Path
from typing import Any

import check_jsonschema
import jsonschema
import pytest
import yaml
from deploying import EXAMPLES, make_build

from onnxpack.deploy.formats import Wanted, compose
from onnxpack.deploy.sizing import Goals, make_sizing


@pytest.fixture(params=list(EXAMPLES))
def document(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    build = make_build(tmp_path, **EXAMPLES[request.param])
    (text,) = compose.make(Wanted(build, make_sizing(build, Goals()))).texts.values()
    return yaml.safe_load(text)


def test_it_keeps_to_the_compose_specification(document: Any) -> None:
    (path,) = Path(check_jsonschema.__file__).parent.rglob("compose-spec.json")
    jsonschema.validate(document, json.loads(path.read_text()))
    (service,) = document["services"].values()
    assert "@sha256:" in service["image"]


def test_its_container_is_confined_and_can_drain(document: Any) -> None:
    (service,) = document["services"].values()
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["stop_grace_period"].removesuffix("s")) >= 8 + 5
    assert service["healthcheck"]["test"] == ["CMD", "python3", "-S", "-m", "healthcheck"]
