"""An InferenceService is one that KServe takes, around a Pod that Kubernetes takes."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from deploying import EXAMPLES, make_build
from kubernetes_rules import check_schema, list_violations

from onnxpack.deploy.formats import Wanted, kserve
from onnxpack.deploy.sizing import Goals, make_sizing

_OWN = {
    "minReplicas": {"type": "integer", "minimum": 0},
    "maxReplicas": {"type": "integer", "minimum": 1},
    "scaleTarget": {"type": "integer", "minimum": 1},
    "scaleMetric": {"enum": ["cpu", "memory", "concurrency", "rps"]},
}
"""What KServe adds to a Pod's spec in a predictor, as far as it is written (serving.kserve.io/v1beta1)."""
_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "properties": {
        "apiVersion": {"const": "serving.kserve.io/v1beta1"},
        "kind": {"const": "InferenceService"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "additionalProperties": False,
            "required": ["predictor"],
            "properties": {"predictor": {"type": "object", "properties": _OWN, "required": ["containers"]}},
        },
    },
}


@pytest.fixture(params=list(EXAMPLES))
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    build = make_build(tmp_path, **EXAMPLES[request.param])
    (text,) = kserve.make(Wanted(build, make_sizing(build, Goals()))).texts.values()
    return yaml.safe_load(text)


def test_it_is_an_inference_service_around_a_pod(service: Any) -> None:
    jsonschema.validate(service, _SCHEMA)
    pod = {key: value for key, value in service["spec"]["predictor"].items() if key not in _OWN}
    check_schema({"apiVersion": "v1", "kind": "Pod", "metadata": service["metadata"], "spec": pod})
    assert list_violations(pod) == []


def test_its_container_is_the_one_that_kserve_serves_from(service: Any) -> None:
    (container,) = service["spec"]["predictor"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["ports"][0]["name"] == "http1"
    assert {"name": "PROTOCOL", "value": "v2"} in container["env"]
    assert "@sha256:" in container["image"]


def test_it_runs_without_knative(service: Any) -> None:
    """Knative takes neither lifecycles nor node selectors."""
    annotations = service["metadata"]["annotations"]
    assert annotations["serving.kserve.io/deploymentMode"] == "Standard"
    assert annotations["serving.kserve.io/autoscalerClass"] == "hpa"
    assert len(service["metadata"]["name"] + "-predictor") <= 63
