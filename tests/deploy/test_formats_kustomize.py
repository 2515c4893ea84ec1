"""What kustomize makes of the files is what Kubernetes takes, and what its strictest security standard allows."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploying import EXAMPLES, make_build
from kubernetes_rules import check_schema, list_violations

from onnxpack.deploy.builds import Build
from onnxpack.deploy.files import write_manifests
from onnxpack.deploy.formats import Wanted, kustomize
from onnxpack.deploy.sizing import Goals, make_sizing

KINDS = {
    "ServiceAccount", "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
}  # fmt: skip


def write(tmp_path: Path, example: str) -> tuple[Build, Path]:
    build = make_build(tmp_path / "dist", **EXAMPLES[example])
    made = kustomize.make(Wanted(build, make_sizing(build, Goals())))
    write_manifests(tmp_path / "out", [made], force=False)
    return build, tmp_path / "out" / made.folder


def read(folder: Path) -> dict[str, Any]:
    """Return the documents by their kinds."""
    documents = [yaml.safe_load(path.read_text()) for path in folder.iterdir()]
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_resource_is_one_that_kubernetes_takes(tmp_path: Path, example: str) -> None:
    _, folder = write(tmp_path, example)
    found = read(folder)
    kustomization = found.pop("Kustomization")
    assert set(found) == KINDS
    assert set(kustomization["resources"]) | {"kustomization.yaml"} == {path.name for path in folder.iterdir()}
    for document in found.values():
        check_schema(document)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not here")
@pytest.mark.parametrize("example", EXAMPLES)
def test_kustomize_puts_the_digest_into_the_deployment(tmp_path: Path, example: str) -> None:
    build, folder = write(tmp_path, example)
    ended = subprocess.run(["kubectl", "kustomize", folder], capture_output=True, text=True, check=True)
    documents = {document["kind"]: document for document in yaml.safe_load_all(ended.stdout)}
    assert set(documents) == KINDS
    for document in documents.values():
        check_schema(document)
    (container,) = documents["Deployment"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == str(build.pushed)


@pytest.mark.parametrize("example", EXAMPLES)
def test_pods_keep_to_the_restricted_standard_and_have_no_token(tmp_path: Path, example: str) -> None:
    found = read(write(tmp_path, example)[1])
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert list_violations(pod) == []
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is found["ServiceAccount"]["automountServiceAccountToken"] is False
    assert found["NetworkPolicy"]["spec"]["egress"] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_all_resources_find_the_same_pods(tmp_path: Path, example: str) -> None:
    found = read(write(tmp_path, example)[1])
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    selectors = [
        found["Deployment"]["spec"]["selector"]["matchLabels"],
        found["Service"]["spec"]["selector"],
        found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ]
    spread = found["Deployment"]["spec"]["template"]["spec"]["topologySpreadConstraints"]
    selectors += [one["labelSelector"]["matchLabels"] for one in spread]
    assert all(selector == selectors[0] and selector.items() <= labels.items() for selector in selectors)
    assert "app.kubernetes.io/version" not in selectors[0], "selectors never change"
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == found["Deployment"]["metadata"]["name"]


def test_a_gpu_is_asked_for_and_its_port_of_grpc_is_open(tmp_path: Path) -> None:
    found = read(write(tmp_path, "scans")[1])
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert [port["port"] for port in found["Service"]["spec"]["ports"]] == [9000, 9001]
    assert [port["port"] for port in found["NetworkPolicy"]["spec"]["ingress"][0]["ports"]] == [9000, 9001]


def test_pods_are_given_the_time_that_the_server_drains(tmp_path: Path) -> None:
    pod = read(write(tmp_path, "scans")[1])["Deployment"]["spec"]["template"]["spec"]
    waits = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= waits + 29.5 + 5


def test_the_rules_of_the_standard_are_seen_to_be_broken() -> None:
    good = {
        "allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }  # fmt: skip
    assert list_violations({"containers": [{"securityContext": good}]}) == []
    broken: list[tuple[dict[str, Any], dict[str, Any], str]] = [
        ({}, {"allowPrivilegeEscalation": None}, "allowPrivilegeEscalation"),
        ({}, {"runAsNonRoot": False}, "runAsNonRoot"),
        ({}, {"runAsUser": 0}, "runAsUser"),
        ({}, {"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
        ({}, {"capabilities": {"drop": ["CHOWN"]}}, "capabilities"),
        ({}, {"capabilities": {"drop": ["ALL"], "add": ["SYS_TIME"]}}, "capabilities"),
        ({}, {"privileged": True}, "privileged"),
        ({}, {"procMount": "Unmasked"}, "procMount"),
        ({"hostNetwork": True}, {}, "hostNetwork"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, {}, "volume"),
        ({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}, {}, "sysctls"),
    ]
    for pod, container, words in broken:
        found = list_violations({"containers": [{"securityContext": good | container}], **pod})
        assert [one.split(" ")[0] for one in found] == [words]
