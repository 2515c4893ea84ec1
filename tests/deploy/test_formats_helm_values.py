"""Values for a chart say the same of a Pod as the Deployment of the kustomization."""

from pathlib import Path

import pytest
import yaml
from deploying import EXAMPLES, make_build
from kubernetes_rules import check_schema, list_violations

from onnxpack.deploy.formats import Wanted, helm_values, kustomize
from onnxpack.deploy.sizing import Goals, make_sizing


@pytest.mark.parametrize("example", EXAMPLES)
def test_values_are_those_of_the_deployment(tmp_path: Path, example: str) -> None:
    build = make_build(tmp_path, **EXAMPLES[example])
    wanted = Wanted(build, make_sizing(build, Goals()))
    (text,) = helm_values.make(wanted).texts.values()
    values = yaml.safe_load(text)
    deployment = yaml.safe_load(kustomize.make(wanted).texts["deployment.yaml"])
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for key in ("resources", "securityContext", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle"):
        assert values[key] == container[key]
    for key in ("nodeSelector", "topologySpreadConstraints", "terminationGracePeriodSeconds"):
        assert values[key] == pod[key]
    assert values["podSecurityContext"] == pod["securityContext"]
    assert (values["affinity"], values["tolerations"]) == (pod.get("affinity", {}), pod.get("tolerations", []))
    assert f"{values['image']['repository']}@{values['image']['digest']}" == str(build.pushed)
    made = {
        "securityContext": values["podSecurityContext"],
        "containers": [
            {"name": "x", "image": "x", "ports": values["containerPorts"], "securityContext": values["securityContext"]}
        ],
    }  # fmt: skip
    check_schema({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": made})
    assert list_violations(made) == []
