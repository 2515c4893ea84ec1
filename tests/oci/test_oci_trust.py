"""Who is spoken to without TLS, whose certificates count, and which proxy is asked."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from onnxpack.core.errors import EngineError
from onnxpack.oci import trust


@pytest.mark.parametrize("host", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"])
def test_this_machine_may_speak_plain_http(host: str) -> None:
    assert trust.may_be_plain(host)
    assert trust.find_proxy(urlsplit(f"http://{host}/")) is None


@pytest.mark.parametrize("host", ["registry.example.com", "128.0.0.1", "localhost.example.com", "127.0.0.1.nip.io"])
def test_no_other_machine_may_unless_it_is_named(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not trust.may_be_plain(host)
    monkeypatch.setenv(trust.INSECURE, f"a.example.com,{host} ,b")
    assert trust.may_be_plain(host)
    assert not trust.may_be_plain(f"{host}:5000")


def test_the_proxy_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    parts = urlsplit("https://registry.example.com/v2/")
    assert trust.find_proxy(parts) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    assert trust.find_proxy(parts) == "http://proxy.example.com:3128"
    monkeypatch.setenv("NO_PROXY", ".example.com")
    assert trust.find_proxy(parts) is None


@pytest.mark.parametrize("name", ["ca.crt", "client.cert"])
def test_a_file_that_is_no_certificate_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(trust, "CERTIFICATES", tmp_path)
    (tmp_path / "registry.example.com").mkdir()
    (tmp_path / "registry.example.com" / name).write_text("nothing")
    with pytest.raises(EngineError, match=f"{name}' cannot be used"):
        trust.make_context("registry.example.com")
    assert trust.make_context("other.example.com")
