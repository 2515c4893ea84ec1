"""Challenges are read as registries write them, and a token server is only what it may be."""

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.oci.tokens import Challenge, Identity, read_challenges


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [Challenge("bearer", "https://auth.docker.io/token", "registry.docker.io", ("repository:a/b:pull,push",))],
        ),
        (
            'bearer  scope="a:b:c d:e:f" , realm=https://x/y',
            [Challenge("bearer", "https://x/y", "", ("a:b:c", "d:e:f"))],
        ),
        ('Basic realm="GitLab, inside"', [Challenge("basic", "GitLab, inside")]),
        ("Basic", [Challenge("basic")]),
        (
            'Basic realm="x", Bearer realm="https://x/t",error="invalid_token"',
            [Challenge("basic", "x"), Challenge("bearer", "https://x/t")],
        ),
        ("Negotiate", []),
        ("", []),
        ("Bearer " + "a=" * 50_000, [Challenge("bearer")]),
    ],
)
def test_challenges_are_read(text: str, found: list[Challenge]) -> None:
    assert read_challenges(text) == found


@pytest.mark.parametrize("realm", ["http://auth.example.com/token", "", "ftp://x", "//auth.example.com/token"])
def test_no_login_goes_to_a_token_server_without_tls(realm: str) -> None:
    identity = Identity("registry.example.com", lambda *_: pytest.fail("nothing is sent"), plain=False)
    with pytest.raises(EngineError, match="which is not https"):
        identity.renew([f'Bearer realm="{realm}"'], None)


def test_without_a_known_challenge_there_is_nothing_to_try() -> None:
    identity = Identity("registry.example.com", lambda *_: pytest.fail("nothing is sent"), plain=False)
    assert not identity.renew(["Negotiate", ""], None)
    assert identity.renew(["Negotiate"], "what another thread had"), "another thread was first"
