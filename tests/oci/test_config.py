"""An image's configuration is the base's with the changes of the Dockerfile's instructions."""

import json
from typing import Any

import pytest
from bundle_examples import DOCKERFILES

from onnxpack.core.errors import EngineError
from onnxpack.oci.config import NewLayer, read_diff_ids, read_platform, write_config

LAYERS = (NewLayer("sha256:" + "1" * 64, "COPY a /"), NewLayer("sha256:" + "2" * 64, "COPY b /"))
BASE: dict[str, Any] = {
    "architecture": "arm64",
    "os": "linux",
    "variant": "v8",
    "created": "2026-01-01T00:00:00Z",
    "author": "somebody",
    "config": {
        "Env": ["PATH=/bin", "PYTHONPATH=/theirs", "LANG=C.UTF-8"],
        "Labels": {"team": "base", "theirs": "yes"},
        "Cmd": ["-c", "1"],
        "Entrypoint": ["/usr/bin/python3"],
        "WorkingDir": "/home",
        "ExposedPorts": {"1/tcp": {}},
        "User": "root",
        "Hostname": "builder-7",
    },
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "0" * 64]},
    "history": [{"created_by": "FROM scratch", "empty_layer": True}, {"created_by": "ADD base /"}],
}


def write(base: Any = BASE, view: str = "iris") -> dict[str, Any]:
    return json.loads(write_config(json.dumps(base).encode(), DOCKERFILES[view].settings, LAYERS))


def test_the_base_is_kept_but_for_what_the_instructions_change() -> None:
    made = write()
    config = made["config"]
    assert config["Env"][:2] == ["PATH=/bin", "PYTHONPATH=/opt/onnxpack/app:/opt/onnxpack/lib"]
    assert config["Env"][2] == "LANG=C.UTF-8"
    assert config["Labels"] == {"team": "risk", "theirs": "yes"}
    assert config["Entrypoint"] == ["python3", "-m", "server"]
    assert "Cmd" not in config
    assert config["WorkingDir"] == "/home"
    assert config["ExposedPorts"] == {"1/tcp": {}, "8080/tcp": {}}
    assert config["User"] == "65532:65532"
    assert config["Healthcheck"]["Interval"] == 10_000_000_000
    assert str(read_platform(made)) == "linux/arm64"


@pytest.mark.case("R5")
def test_no_time_name_or_host_of_a_builder_gets_in() -> None:
    made = write()
    assert made["created"] == "1980-01-01T00:00:00Z"
    assert not {"author", "container", "docker_version"} & set(made)
    assert "Hostname" not in made["config"]


def test_layers_come_with_their_history() -> None:
    made = write()
    assert read_diff_ids(json.dumps(made).encode()) == tuple("sha256:" + digit * 64 for digit in "012")
    assert [entry["created_by"] for entry in made["history"]] == ["FROM scratch", "ADD base /", "COPY a /", "COPY b /"]


def test_an_image_without_a_server_keeps_the_health_check_of_its_base() -> None:
    base = BASE | {"config": BASE["config"] | {"Healthcheck": {"Test": ["NONE"]}}}
    assert write(base, "cuda")["config"]["Healthcheck"] == {"Test": ["NONE"]}


def test_a_base_that_asks_for_more_than_layers_is_refused() -> None:
    with pytest.raises(EngineError, match="ONBUILD"):
        write(BASE | {"config": {"OnBuild": ["RUN a"]}})


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b'{"rootfs": 1}', b'{"rootfs": {"diff_ids": null}}'])
def test_what_is_no_configuration_names_no_layers(data: bytes) -> None:
    with pytest.raises(EngineError):
        read_diff_ids(data)


def test_a_base_may_say_nothing() -> None:
    made = json.loads(write_config(b"{}", DOCKERFILES["iris"].settings, LAYERS))
    assert len(made["rootfs"]["diff_ids"]) == 2
