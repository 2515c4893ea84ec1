"""Logins are found where Docker finds them, and shown nowhere."""

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.oci.credentials import Login, find_login

HOST = "registry.example.com:5000"
HELPER = """\
#!/bin/sh
read -r host
case "$1 $host" in
  "get registry.example.com:5000") echo '{"ServerURL": "x", "Username": "me", "Secret": "from a helper"}' ;;
  "get https://index.docker.io/v1/") echo '{"ServerURL": "x", "Username": "<token>", "Secret": "an identity"}' ;;
  "get broken.example.com") echo 'c4n4ry is no JSON' ;;
  *) echo 'credentials not found in native keychain'; exit 1 ;;
esac
"""
Config = Callable[..., None]


def encode(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that Docker asks for logins."""
    program = tmp_path / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


@pytest.mark.parametrize("key", [HOST, f"https://{HOST}", f"https://{HOST}/v2/"])
def test_a_login_is_found_by_its_host_alone(config: Config, key: str) -> None:
    config(auths={key: encode("me:a:b"), "other.example.com": encode("you:c")})
    assert find_login(HOST) == Login("me", "a:b")
    assert find_login("registry.example.com") is None
    assert find_login("docker.io") is None


def test_a_login_of_docker_hub_is_found_under_its_old_address(config: Config) -> None:
    config(auths={"https://index.docker.io/v1/": encode("me:a")})
    assert find_login("docker.io") == Login("me", "a")


def test_an_identity_token_is_found(config: Config) -> None:
    config(auths={HOST: {**encode("me:"), "identitytoken": "abc"}})
    assert find_login(HOST) == Login(identity_token="abc")


@pytest.mark.usefixtures("helper")
def test_helpers_are_asked(config: Config) -> None:
    config(credHelpers={HOST: "test"}, auths={HOST: encode("me:in the file")})
    assert find_login(HOST) == Login("me", "from a helper")
    assert find_login("other.example.com") is None
    config(credsStore="test", auths={"third.example.com": encode("me:in the file")})
    assert find_login("docker.io") == Login(identity_token="an identity")
    assert find_login("third.example.com") == Login("me", "in the file")


@pytest.mark.usefixtures("helper")
@pytest.mark.parametrize(
    ("values", "host"),
    [
        ({"credHelpers": {HOST: "none"}}, HOST),
        ({"credHelpers": {"broken.example.com": "test"}}, "broken.example.com"),
        ({"auths": {HOST: "c4n4ry"}}, HOST),
        ({"auths": {HOST: {"auth": "c4n4ry c4n4ry"}}}, HOST),
        ({"auths": {HOST: {"auth": 4}}}, HOST),
        ({"auths": [1]}, HOST),
    ],
)
def test_what_cannot_be_read_is_told_without_secrets(config: Config, values: dict[str, object], host: str) -> None:
    config(**values)
    with pytest.raises(EngineError, match=f"the login for {host} cannot be read") as failed:
        find_login(host)
    assert "c4n4ry" not in str(failed.value)
    assert f"docker login {host}" in failed.value.problems[0].hint


def test_a_login_is_not_shown() -> None:
    login = Login("me", "c4n4ry", "t0k3n")
    assert repr(login) == "Login()"
    assert login.hide("c4n4ry, t0k3n, c4n4ry!") == "***, ***, ***!"
