"""What a registry asks for is given to it alone, and what it says is told in words."""

import base64
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificate
from faulty_registry import Fault, faulty
from registries import PASSWORD, USER, Served, add_image, running_registry, use_passwords
from token_server import Tokens, giving_tokens
from told import Told

from onnxpack.core.errors import EngineError
from onnxpack.oci import trust
from onnxpack.oci.layout import Layout
from onnxpack.oci.manifests import Descriptor
from onnxpack.oci.pull import pull, resolve
from onnxpack.oci.push import push
from onnxpack.oci.reference import ImageReference, parse_reference
from onnxpack.oci.registry import Registry

PLATFORM = "linux/amd64"


def encode(name: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{name}:{password}".encode()).decode()}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Served]:
    """A registry with TLS and one user."""
    server, _ = make_certificate(tmp_path)
    with running_registry(tmp_path / "r", server, use_passwords(tmp_path / "r")) as served:
        yield served


def trust_by_variable(folder: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "trusted.pem"))


def trust_by_folder(folder: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setattr(trust, "CERTIFICATES", folder / "certs.d")
    (folder / "certs.d" / host).mkdir(parents=True)
    os.link(folder / "trusted.pem", folder / "certs.d" / host / "ca.crt")


@pytest.mark.parametrize("believe", [trust_by_variable, trust_by_folder])
def test_a_push_over_tls_with_a_password(
    guarded: Served,
    layout: Layout,
    told: Told,
    tmp_path: Path,
    config: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    believe: Callable[..., None],
) -> None:
    believe(tmp_path, monkeypatch, guarded.host)
    config(auths={guarded.host: encode(USER, PASSWORD)})
    image, to = add_image(layout, 50), parse_reference(f"{guarded.host}/team/iris:1")
    assert push(layout, image, [to], told) == image.digest
    assert pull(to, PLATFORM, Layout(tmp_path / "pulled"), told) == image


@pytest.mark.case("B4")
def test_a_registry_whose_certificate_is_not_trusted_is_told(guarded: Served) -> None:
    with pytest.raises(EngineError, match=f"the certificate of {guarded.host} is not trusted: self") as refused:
        resolve(parse_reference(f"{guarded.host}/team/iris:1"), PLATFORM)
    assert "SSL_CERT_FILE" in refused.value.problems[0].hint
    assert f"/etc/docker/certs.d/{guarded.host}/ca.crt" in refused.value.problems[0].hint


@pytest.mark.case("B4")
@pytest.mark.parametrize("login", [None, encode(USER, "c4n4ry"), encode("nobody", "c4n4ry")])
def test_a_login_that_a_registry_refuses_is_told_without_it(
    guarded: Served,
    layout: Layout,
    told: Told,
    tmp_path: Path,
    config: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    login: dict[str, str] | None,
) -> None:
    trust_by_variable(tmp_path, monkeypatch, guarded.host)
    config(auths={guarded.host: login} if login else {})
    with pytest.raises(EngineError, match="401 Unauthorized") as refused:
        push(layout, add_image(layout, 51), [parse_reference(f"{guarded.host}/team/iris:1")], told)
    assert f"docker login {guarded.host}" in refused.value.problems[0].hint
    assert "c4n4ry" not in str(refused.value) + "".join(told.lines)
    assert len(guarded.requests()) <= 12, "nothing is tried again and again"


@pytest.mark.case("B4")
def test_a_registry_without_tls_on_another_machine_is_not_spoken_to(registry: Served, monkeypatch: Any) -> None:
    port = registry.host.partition(":")[2]
    monkeypatch.setattr(trust, "is_loopback", lambda host: False)
    with pytest.raises(EngineError, match=f"127.0.0.1:{port} does not speak TLS") as refused:
        resolve(parse_reference(f"{registry.host}/team/iris:1"), PLATFORM)
    assert f"{trust.INSECURE}=127.0.0.1:{port}" in refused.value.problems[0].hint
    monkeypatch.setenv(trust.INSECURE, f"registry.example.com, {registry.host}")
    with pytest.raises(EngineError, match="404 Not Found"):
        resolve(parse_reference(f"{registry.host}/team/iris:1"), PLATFORM)


@pytest.fixture
def tokens(tmp_path: Path) -> Iterator[Tokens]:
    server, _ = make_certificate(tmp_path)
    with giving_tokens(server, {USER: PASSWORD}) as made:
        yield made


@pytest.fixture
def by_token(tokens: Tokens, tmp_path: Path) -> Iterator[Served]:
    """A registry that wants tokens."""
    with running_registry(tmp_path / "r", auth=tokens.configuration()) as served:
        yield served


@pytest.fixture
def pushed(
    by_token: Served, layout: Layout, told: Told, config: Callable[..., None]
) -> tuple[ImageReference, Descriptor]:
    """An image that a user pushed."""
    config(auths={by_token.host: encode(USER, PASSWORD)})
    image, to = add_image(layout, 52), parse_reference(f"{by_token.host}/team/iris:1")
    push(layout, image, [to], told)
    return to, image


def test_a_token_is_got_for_a_password_and_serves_all_requests(
    tokens: Tokens, pushed: tuple[ImageReference, Descriptor]
) -> None:
    first, second = tokens.asked
    assert first == ("GET", ["repository:team/iris:pull"], USER)
    # A registry names the actions in any order.
    rights = [set(scope.rpartition(":")[2].split(",")) for scope in second[1]]
    assert (second[0], rights, second[2]) == ("GET", [{"pull"}, {"pull", "push"}], USER)
    assert resolve(pushed[0], PLATFORM).digest == pushed[1].digest


def test_everybody_may_read_but_not_write_without_a_login(
    tokens: Tokens,
    pushed: tuple[ImageReference, Descriptor],
    layout: Layout,
    told: Told,
    config: Callable[..., None],
) -> None:
    config()
    assert resolve(pushed[0], PLATFORM).digest == pushed[1].digest
    assert tokens.asked[-1] == ("GET", ["repository:team/iris:pull"], "")
    with pytest.raises(EngineError, match=r"401 Unauthorized .UNAUTHORIZED: authentication required"):
        push(layout, add_image(layout, 53), [pushed[0]], told)


def test_a_token_is_got_for_an_identity_token(
    tokens: Tokens, by_token: Served, layout: Layout, told: Told, config: Callable[..., None]
) -> None:
    config(auths={by_token.host: {"identitytoken": tokens.refresh}})
    push(layout, add_image(layout, 54), [parse_reference(f"{by_token.host}/team/iris:1")], told)
    assert {(method, user) for method, _, user in tokens.asked} == {("POST", "refreshed")}


def test_an_old_token_is_renewed(tokens: Tokens, by_token: Served, layout: Layout, told: Told, config: Any) -> None:
    config(auths={by_token.host: encode(USER, PASSWORD)})
    tokens.lifetime = -120  # the registry allows a minute for clocks that differ
    with pytest.raises(EngineError, match="401 Unauthorized"):
        push(layout, add_image(layout, 55), [parse_reference(f"{by_token.host}/team/iris:1")], told)
    assert len(tokens.asked) <= 9
    to = parse_reference(f"{by_token.host}/team/iris:1")
    registry = Registry(to.registry)
    with pytest.raises(EngineError, match="401"):
        resolve(to, PLATFORM, registry)
    tokens.lifetime = 300
    with pytest.raises(EngineError, match="404 Not Found"):
        resolve(to, PLATFORM, registry)


@pytest.mark.case("B5")
def test_a_token_server_that_is_busy_is_asked_again(
    tokens: Tokens, pushed: tuple[ImageReference, Descriptor], waits: list[float]
) -> None:
    tokens.fails = [503, 429]
    assert resolve(pushed[0], PLATFORM).digest == pushed[1].digest
    assert len(waits) == 2


@pytest.mark.case("B4")
def test_a_token_server_that_refuses_is_told_without_the_login(
    tokens: Tokens, by_token: Served, config: Callable[..., None]
) -> None:
    config(auths={by_token.host: encode(USER, "c4n4ry")})
    with pytest.raises(EngineError, match=r"where 127.0.0.1:[0-9]+ has its logins, refuses the login") as refused:
        resolve(parse_reference(f"{by_token.host}/team/iris:1"), PLATFORM)
    assert "docker login" in refused.value.problems[0].hint
    assert "c4n4ry" not in str(refused.value)
    assert len(tokens.asked) == 1
    tokens.fails = [404]
    with pytest.raises(EngineError, match="answers 404"):
        resolve(parse_reference(f"{by_token.host}/team/iris:1"), PLATFORM)


def test_a_layer_of_a_base_that_may_not_be_read_is_sent(
    tokens: Tokens, by_token: Served, layout: Layout, told: Told, config: Callable[..., None]
) -> None:
    config(auths={by_token.host: encode(USER, PASSWORD)})
    base = f"{by_token.host}/bases/python:1"
    to = parse_reference(f"{by_token.host}/team/iris:1")
    push(layout, add_image(layout, 56, base=base), [to], told)
    assert any("repository:bases/python:pull" in scopes for _, scopes, _ in tokens.asked)
    tokens.closed = "bases/python"
    image = add_image(layout, 57, base=base)
    assert push(layout, image, [to], told) == image.digest
    assert resolve(to, PLATFORM).digest == image.digest


def test_a_redirect_gets_no_login_of_another_host(
    registry: Served, layout: Layout, told: Told, config: Callable[..., None], waits: list[float]
) -> None:
    image = add_image(layout, 58)
    push(layout, image, [parse_reference(f"{registry.host}/team/iris:58")], told)
    with faulty(registry.host) as near, faulty(registry.host) as storage:
        config(auths={near.host: encode(USER, "c4n4ry")})
        near.faults = [
            Fault("GET", "401 WWW-Authenticate Basic realm=x"),
        ]
        to = parse_reference(f"{near.host}/team/iris:58")
        largest = layout.read_manifest(image).layers[-1].digest
        near.faults.append(Fault(largest, f"307 Location http://{storage.host}/v2/team/iris/blobs/{largest}"))
        assert pull(to, PLATFORM, Layout(layout.root.with_name("pulled")), told) == image
        assert [headers.get("Authorization") for _, _, headers in storage.seen] == [None]
        assert {headers.get("Authorization") for _, _, headers in near.seen[1:]} == {"Basic bWU6YzRuNHJ5"}


@pytest.mark.parametrize(
    "place", ["/v2/team/iris/manifests/1", "http://127.0.0.1:1/", "ftp://a/b", "http://[", "//", ""]
)
def test_a_redirect_that_leads_nowhere_is_an_error(
    registry: Served, waits: list[float], place: str, config: Callable[..., None]
) -> None:
    with faulty(registry.host) as near:
        near.faults = [Fault("GET", f"307 Location {place}", times=99)]
        with pytest.raises(EngineError, match=r"redirects without end|cannot be reached|is no address"):
            resolve(parse_reference(f"{near.host}/team/iris:1"), PLATFORM)


def test_addresses_that_a_registry_names_are_completed_and_kept_safe() -> None:
    registry = Registry("registry.example.com")
    assert registry.locate("/v2/a?b=c") == "https://registry.example.com/v2/a?b=c"
    assert registry.locate("http://registry.example.com/v2/a") == "https://registry.example.com/v2/a"
    assert registry.locate("http://other.example.com/v2/a") == "http://other.example.com/v2/a"
    assert registry.locate("x?y", "https://other.example.com/v2/a") == "https://other.example.com/v2/x?y"
    assert Registry("docker.io").base == "https://registry-1.docker.io"


@pytest.mark.case("B4")
def test_a_host_that_does_not_exist_is_told_at_once(waits: list[float]) -> None:
    with pytest.raises(EngineError) as refused:
        resolve(parse_reference("registry.invalid/team/iris:1"), PLATFORM)
    assert "registry.invalid" in refused.value.problems[0].message
    assert len(waits) <= 2


def test_secrets_that_a_registry_repeats_are_not_told(
    registry: Served, waits: list[float], config: Callable[..., None]
) -> None:
    with faulty(registry.host) as near:
        config(auths={near.host: encode(USER, "c4n4ry")})
        near.faults = [
            Fault("GET", "401 WWW-Authenticate Basic"),
            Fault("GET", 'refuse {"errors":[{"code":"c4n4ry"}]}'),
        ]
        with pytest.raises(EngineError, match=r"400 Bad Request .\*\*\*") as refused:
            resolve(parse_reference(f"{near.host}/team/iris:1"), PLATFORM)
        assert "c4n4ry" not in str(refused.value)
