"""What Kubernetes says of manifests: its schemas, and its Pod Security Standard "restricted"."""

from collections.abc import Iterator
from typing import Any

import kubernetes_validate

VERSIONS = ("1.30", "1.37")
"""The oldest one that has what is written (``preStop.sleep``), and the newest one that the package knows."""


def check_schema(document: dict[str, Any]) -> None:
    """Fail where a document has a field that Kubernetes does not know, or a value that it does not take."""
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


def list_violations(pod: dict[str, Any]) -> list[str]:
    """Return the rules of the standard "restricted" (and "baseline", which it includes) that a Pod's spec breaks.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    return [*_check_pod(pod), *(found for one in _list_containers(pod) for found in _check_container(pod, one))]


def _list_containers(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        yield from pod.get(kind, ())


def _check_pod(pod: dict[str, Any]) -> Iterator[str]:
    yield from (key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key))
    if pod.get("hostUsers") is True:
        yield "hostUsers"
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    yield from (f"volume {volume}" for volume in pod.get("volumes", ()) if not set(volume) - {"name"} <= allowed)
    if pod.get("securityContext", {}).get("sysctls"):
        yield "sysctls"


def _check_container(pod: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    own, shared = container.get("securityContext", {}), pod.get("securityContext", {})
    merged = shared | own
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if merged.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if merged.get("runAsUser") == 0:
        yield "runAsUser"
    if merged.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield "seccompProfile"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", ()) or set(capabilities.get("add", ())) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if own.get("procMount", "Default") != "Default":
        yield "procMount"
    if any(merged.get(key) for key in ("seLinuxOptions", "appArmorProfile", "windowsOptions")):
        yield "options of other security modules"
    yield from (f"hostPort {port['hostPort']}" for port in container.get("ports", ()) if port.get("hostPort"))
    handlers = [container.get(f"{kind}Probe", {}) for kind in ("startup", "readiness", "liveness")]
    handlers += container.get("lifecycle", {}).values()
    if any("host" in action for handler in handlers for action in handler.values() if isinstance(action, dict)):
        yield "host of a probe"
