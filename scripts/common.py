"""What the scripts beside this file share: words, the folder they keep, apt, and the Docker API.

The standard library alone, as they run before the project's own environment exists.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

ENGINE_FAILED = 5  # the project's exit code for trouble with an engine, a registry or the network
INSTALL_SECONDS = 900


def say(sentence: str) -> None:
    """Tell the user."""
    sys.stderr.write(f"{Path(sys.argv[0]).name}: {sentence}\n")
    sys.stderr.flush()


def fail(sentence: str) -> NoReturn:
    """End with one sentence for the user."""
    say(sentence)
    raise SystemExit(ENGINE_FAILED)


def home() -> Path:
    """The folder that lasts from run to run."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("ONNXPACK_ENGINE_HOME") or cache / "onnxpack-engine").absolute()


def make_home() -> None:
    """Make the folder, or end with a sentence."""
    try:
        home().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(f"{home()} cannot be made ({error.strerror}): set ONNXPACK_ENGINE_HOME to a folder for the engine's data")


def replace_made(page: str, maker: str, text: str) -> str:
    """Return a page with ``text`` between the marks of what ``maker`` makes of it.

    Raises:
        ValueError: the page has no such marks.
    """
    begin, end = f"<!-- made by {maker} -->\n\n", "<!-- end -->"
    head, mark, rest = page.partition(begin)
    _, closed, tail = rest.partition(end)
    if not mark or not closed:
        raise ValueError(f"the page has no '{begin.strip()}' with '{end}' behind it")
    return f"{head}{begin}{text}\n{end}{tail}"


def may_install() -> bool:
    """Whether packages can be installed: as root, on Debian or one of its kind."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def install(*packages: str) -> None:
    """Install Debian packages without letting them start services; ends with a sentence if that fails."""
    names = " ".join(packages)
    say(f"installing {names}")
    log = home() / "install.log"
    policy = Path("/usr/sbin/policy-rc.d")  # asked by the packages' scripts; 101 means "do not start services"
    ours = not policy.exists()
    apt = ["apt-get", "--quiet", "--option", "DPkg::Lock::Timeout=120"]
    try:
        if ours:
            policy.write_text("#!/bin/sh\nexit 101\n")
            policy.chmod(0o755)
        with log.open("wb") as out:
            for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
                subprocess.run(
                    apt + command,
                    env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    timeout=INSTALL_SECONDS,
                    check=command[0] == "install",  # a broken third-party list need not matter
                )
    except (subprocess.SubprocessError, OSError):
        show_end(log)
        fail(f"installing {names} failed (see {log}): install it yourself, then run this again")
    finally:
        if ours:
            policy.unlink(missing_ok=True)


def show_end(log: Path) -> None:
    """Show a log's last lines."""
    if log.is_file():
        sys.stderr.write("".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:]))


# ---------------------------------------------------------------------------------------------------- the Docker API


class Endpoint(NamedTuple):
    """Where an engine listens, and whether the user named it."""

    url: str
    chosen_by: str = ""  # "DOCKER_HOST", "docker context NAME", or "" for a default place
    certificates: Path | None = None  # folder with ca.pem, cert.pem and key.pem, for TLS


def endpoints() -> list[Endpoint]:
    """The places to look for an engine: the one that the user named, or the default ones."""
    if host := os.environ.get("DOCKER_HOST"):
        tls = os.environ.get("DOCKER_TLS_VERIFY") or os.environ.get("DOCKER_CERT_PATH")
        folder = Path(os.environ.get("DOCKER_CERT_PATH") or _config_folder())
        return [Endpoint(host, "DOCKER_HOST", folder if tls else None)]
    if context := _context():
        return [context]
    found = [Endpoint("unix:///var/run/docker.sock")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        found.append(Endpoint(f"unix://{runtime}/docker.sock"))  # a rootless engine
    return found


def _config_folder() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")


def _context() -> Endpoint | None:
    """The docker context in use, read as the docker CLI stores it, so that no CLI is needed."""
    folder = _config_folder()
    name = os.environ.get("DOCKER_CONTEXT")
    config = folder / "config.json"
    if not name and config.is_file():
        name = json.loads(config.read_text(encoding="utf-8")).get("currentContext")
    if not name or name == "default":
        return None
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = folder / "contexts/meta" / key / "meta.json"
    if not meta.is_file():
        fail(f"the docker context {name} is in use but not defined: run `docker context use default` or define it")
    url = json.loads(meta.read_text(encoding="utf-8"))["Endpoints"]["docker"]["Host"]
    certificates = folder / "contexts/tls" / key / "docker"
    return Endpoint(url, f"docker context {name}", certificates if certificates.is_dir() else None)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def _connect(endpoint: Endpoint, timeout: float) -> http.client.HTTPConnection:
    url = urllib.parse.urlsplit(endpoint.url)
    if url.scheme == "unix":
        return _UnixConnection(url.path, timeout)
    try:
        host, port = url.hostname, url.port
    except ValueError as error:
        raise OSError(str(error)) from None
    if url.scheme not in ("tcp", "http", "https") or not host:
        raise OSError("only unix:// and tcp:// addresses are understood")
    if endpoint.certificates is None and url.scheme != "https":
        return http.client.HTTPConnection(host, port or 2375, timeout=timeout)
    tls = ssl.create_default_context()
    if folder := endpoint.certificates:
        if (folder / "ca.pem").is_file():
            tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        if (folder / "cert.pem").is_file():
            tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return http.client.HTTPSConnection(host, port or 2376, timeout=timeout, context=tls)


def request(
    endpoint: Endpoint,
    method: str,
    path: str,
    *,
    query: dict[str, str] | None = None,
    body: bytes | None = None,
    timeout: float = 60,
) -> http.client.HTTPResponse:
    """One call of the Docker API; `timeout` is seconds of silence. Raises OSError or HTTPException."""
    connection = _connect(endpoint, timeout)
    if query:
        path += "?" + urllib.parse.urlencode(query)
    connection.request(method, path, body, {"Content-Type": "application/x-tar"} if body else {})
    return connection.getresponse()


def events(response: http.client.HTTPResponse) -> Iterator[dict[str, Any]]:
    """The JSON events of a streamed answer, one a line."""
    for line in response:
        if line.strip():
            yield json.loads(line)


def trouble(endpoint: Endpoint) -> OSError | http.client.HTTPException | None:
    """Why no engine answers at `endpoint`; None if one does."""
    try:
        response = request(endpoint, "GET", "/_ping", timeout=10)
        response.read()
    except (OSError, http.client.HTTPException) as error:
        return error
    return None if response.status == 200 else OSError(f"it answered {response.status} {response.reason}")


def find_engine() -> Endpoint | None:
    """The engine that answers, or None; ends with a sentence where the user named one that does not."""
    for endpoint in endpoints():
        reason = trouble(endpoint)
        if reason is None:
            return endpoint
        if endpoint.chosen_by:
            fail(
                f"no Docker engine answers at {endpoint.url} ({reason}): start it, "
                f"or choose another one (this one was named by {endpoint.chosen_by})"
            )
        if isinstance(reason, PermissionError):
            fail(f"this user may not use the Docker engine at {endpoint.url}: join the group `docker`, or run as root")
    return None
