"""A secret in each place where a user keeps one is in nothing that a build writes, prints or calls something by."""

import base64
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx_examples import RELU, make_model
from web import Web
from wheels import make_wheel, pack_installed

CANARY = "c4n4ry0f7h3t357"
LOGIN = f"builder:{CANARY}"
SPEC = """\
onnxpack: 1
name: quiet
model: {framework: onnx, path: model.onnx}
inputs:
  x: {dtype: float32, shape: [n, 4]}
dynamic_axes: {n: [1, 8]}
evaluation: {data: "score.py:data", metric: "score.py:metric"}
image: {labels: {team: risk}, env: {LOG_LEVEL: debug}}
"""
SCORE = """
import os
import random
import numpy

def data():
    print("the variables are", dict(os.environ), flush=True)
    return {"x": numpy.ones((8, 4), "float32")}

def metric(outputs, rows):
    return 1.0
"""
VARIABLES = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AZURE_STORAGE_KEY", "HF_TOKEN", "GITHUB_TOKEN", "CI_JOB_TOKEN",
    "DOCKER_AUTH_CONFIG", "REGISTRY_PASSWORD", "TWINE_PASSWORD", "WANDB_API_KEY", "DATABASE_URL", "ANYTHING_AT_ALL",
    "ONNXPACK_REGISTRY_PASSWORD", "PYTHON_KEYRING", "LC_SECRET", "OMP_TOKEN",
)  # fmt: skip
PARAMETERS = (
    "password", "passwd", "pwd", "apikey", "api_key", "api-key", "private_token", "sas", "sig", "signature",
    "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "access_token", "accessToken", "auth",
    "authorization", "key", "secret", "client_secret", "credential", "credentials", "jwt", "token", "passphrase",
    "session", "bearer", "sastoken", "SharedAccessSignature", "Key-Pair-Id", "X-Goog-Credential", "pat", "code",
)  # fmt: skip


class _Index(BaseHTTPRequestHandler):
    """A package index that wants a login, as a company's own."""

    folder: Path

    def log_message(self, *_: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        wanted = "Basic " + base64.b64encode(LOGIN.encode()).decode()
        parts = self.path.strip("/").split("/")
        if self.headers["Authorization"] != wanted:
            self._answer(401, b"", {"WWW-Authenticate": "Basic"})
        elif parts[0] == "files":
            self._answer(200, (self.folder / parts[1]).read_bytes())
        else:
            names = [path.name for path in self.folder.iterdir()]
            found = [name for name in names if name.partition("-")[0].lower().replace("_", "-") == parts[1]]
            links = "".join(f'<a href="/files/{name}">{name}</a>' for name in found)
            self._answer(200 if found else 404, f"<html><body>{links}</body></html>".encode())

    do_HEAD = do_GET  # noqa: N815 - the server's name for it

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "text/html", **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve_index(folder: Path) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Index", (_Index,), {"folder": folder})) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@dataclass
class House:
    """A user's machine: a home, a project, and variables, with the canary wherever a secret is kept."""

    root: Path
    variables: dict[str, str]
    printed: str = ""

    def run(self, *arguments: str | Path, code: int, **variables: str) -> str:
        """Run a command, and return what it printed after a look at it."""
        command = [sys.executable, "-m", "onnxpack", *map(str, arguments)]
        environment = {**self.variables, **variables}
        ended = subprocess.run(
            command, cwd=self.root / "project", capture_output=True, text=True, check=False, env=environment
        )
        printed = ended.stdout + ended.stderr
        assert ended.returncode == code, printed
        assert CANARY not in printed, printed
        assert "Traceback" not in printed or code == 1 or "score.py" in printed
        return printed

    def search(self) -> int:
        """Look for the canary in every file that was written, in its name, and in members of archives; count them."""
        count = 0
        for place in ("project/dist", "project/quiet.lock", "project/spec.lock", "project/first.yaml", "store", "tmp"):
            top = self.root / place
            for path in (top, *top.rglob("*")):
                assert CANARY not in str(path.relative_to(self.root))
                if path.is_file():
                    count += 1
                    data = path.read_bytes()
                    assert CANARY.encode() not in data, path
                    if zipfile.is_zipfile(io.BytesIO(data)):
                        with zipfile.ZipFile(path) as archive:
                            assert not any(CANARY.encode() in archive.read(name) for name in archive.namelist()), path
        return count


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    home, project, wheels = (tmp_path / name for name in ("home", "project", "wheels"))
    for folder in (home, project, wheels, tmp_path / "tmp", project / ".git"):
        folder.mkdir()
    for name, version in (("onnxruntime", "1.30"), ("numpy", "2.9"), ("httptools", "0.9"), ("orjson", "3.12")):
        make_wheel(wheels, name, version)
    kept = {
        home / ".netrc": f"machine 127.0.0.1 login builder password {CANARY}\ndefault login me password {CANARY}\n",
        home / ".docker/config.json": json.dumps({"auths": {"registry.example.com": {"auth": CANARY}}}),
        home / ".config/pip/pip.conf": f"[global]\nindex-url = https://{LOGIN}@pypi.example.com/simple\n",
        home / ".aws/credentials": f"[default]\naws_secret_access_key = {CANARY}\n",
        home / ".git-credentials": f"https://{LOGIN}@git.example.com\n",
        home / ".cache/huggingface/token": CANARY,
        home / ".ssh/id_ed25519": f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}\n-----END OPENSSH PRIVATE KEY-----\n",
        project / ".env": f"API_KEY={CANARY}\n",
        project / "key.pem": f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----\n",
        project / "credentials.json": json.dumps({"private_key": CANARY}),
        project / ".git/config": f'[remote "origin"]\n\turl = https://{LOGIN}@git.example.com/project.git\n',
    }
    for path, text in kept.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
    (project / "spec.yaml").write_text(SPEC)
    (project / "score.py").write_text(SCORE)
    onnx.save(make_model(RELU), project / "model.onnx")
    with serve_index(wheels) as port:
        index = f"http://{LOGIN}@127.0.0.1:{port}/simple"
        (home / ".config/uv").mkdir()
        (home / ".config/uv/uv.toml").write_text(f'extra-index-url = ["{index}"]\n[pip]\nemit-index-url = true\n')
        house = House(tmp_path, {
            "PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", ""), "HOME": str(home),
            "ONNXPACK_CACHE": str(tmp_path / "store"), "TMPDIR": str(tmp_path / "tmp"),
            "UV_CACHE_DIR": str(tmp_path / "uv"), "UV_INDEX_URL": index, "PIP_INDEX_URL": index,
            "HTTPS_PROXY": f"http://{LOGIN}@127.0.0.1:9", "NO_PROXY": "127.0.0.1",
            **dict.fromkeys(VARIABLES, CANARY),
        })  # fmt: skip
        yield house


@pytest.mark.case("B11")
def test_a_secret_in_any_place_is_in_nothing_that_a_build_writes_or_prints(
    house: House, count_attacks: Callable[[int], None]
) -> None:
    house.run("lock", "spec.yaml", code=0)
    house.run("lock", "spec.yaml", "--check", code=0)
    house.run("build", "spec.yaml", "--engine", "none", code=0)
    assert (house.root / "project/dist/quiet/cpu/context/Dockerfile").exists()
    house.run("build", "spec.yaml", "--engine", "none", "--json", code=0)
    house.run("init", "model.onnx", "--output", "first.yaml", code=0)
    house.run("inspect", "spec.yaml", "dist/quiet/cpu", "dist/quiet/cpu/report.json", "model.onnx", code=0)
    assert house.search() > 50
    failing = SCORE.replace("return 1.0", 'raise ValueError(f"cannot score with {dict(os.environ)}")')
    (house.root / "project/score.py").write_text(failing)
    printed = house.run("build", "spec.yaml", "--engine", "none", code=3)
    assert "cannot score with" in printed
    house.run("build", "spec.yaml", "--engine", "none", "--json", code=3)
    house.search()
    count_attacks(8)


@pytest.mark.case("B11")
def test_a_login_of_a_package_index_is_in_no_error_and_in_no_environment(
    house: House, count_attacks: Callable[[int], None]
) -> None:
    host = "127.0.0.1:9/simple"  # the port of `discard`, at which nothing listens
    for url in (f"http://{LOGIN}@{host}", f"http://{host}?token={CANARY}", f"http://{CANARY}@127.0.0.1:99999/simple"):
        house.run("lock", "spec.yaml", code=5, UV_INDEX_URL=url, UV_NO_CONFIG="1", UV_HTTP_RETRIES="0")
    wheels = house.root / "wheels"
    for name in ("onnx", "joblib", "scikit-learn", "skl2onnx", "skops"):
        make_wheel(wheels, name)
    for name in ("msgspec", "PyYAML"):
        pack_installed(wheels, name)
    digest = hashlib.sha256(b"no pickle").hexdigest()
    (house.root / "project/m.joblib").write_bytes(b"no pickle")
    model = f"{{framework: sklearn, path: m.joblib, sha256: {digest}, requirements: [joblib==1.0]}}"
    spec = SPEC.replace("{framework: onnx, path: model.onnx}", model)
    (house.root / "project/pinned.yaml").write_text(spec)
    house.run("build", "pinned.yaml", "--engine", "none", code=3)
    assert list((house.root / "store/environment").iterdir())
    assert house.search() > 50
    count_attacks(4)


@pytest.mark.case("B11")
def test_a_secret_in_a_url_is_told_by_no_command(
    house: House, onnxpack: Any, monkeypatch: pytest.MonkeyPatch, count_attacks: Callable[[int], None]
) -> None:
    url = f"https://{LOGIN}@models.example.com/m.onnx"
    signed = f"https://models.example.com/m.onnx?sig={CANARY}"
    base = SPEC.replace("image:", f"extends: '{url}'\nimage:")
    (house.root / "project/extends.yaml").write_text(base)
    attacks = [
        (*verb, place)
        for place in (url, signed)
        for verb in (
            ("validate",), ("build",), ("verify",), ("lock",), ("bench",), ("init",), ("inspect",), ("view",),
            ("convert", "--to", "tflite"), (), ("build", "spec.yaml", "--until"), ("build", "spec.yaml", "--target"),
            ("build", "--budget"), ("validate", "spec.yaml", "--format"), ("bench", "model.onnx", "--size"),
            ("init", "model.onnx", "--input"), ("init", "model.onnx", "--kwargs"), ("init", "--from"),
            ("validate", "spec.yaml", "--set"), ("validate", "extends.yaml"),
        )
    ]  # fmt: skip
    monkeypatch.chdir(house.root / "project")
    for attack in attacks:
        ended = onnxpack(*[word for word in attack if word])
        assert CANARY not in ended.out + ended.err, ended.err
        assert ended.code == 2, (attack, ended.err)
        assert ended.err
    count_attacks(len(attacks))


@pytest.mark.case("B11")
def test_a_secret_in_a_parameter_of_any_usual_name_is_refused_and_told_by_no_format(
    onnxpack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: int, count_attacks: Callable[[int], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("spec.yaml").write_text(SPEC.replace("model.onnx", f"https://example.com/m.onnx, sha256: {'0f' * 32}"))
    Path("score.py").write_text(SCORE)
    assert onnxpack("validate", "spec.yaml").code == 0
    chance = random.Random(7)
    names = [*PARAMETERS, *(_respell(chance.choice(PARAMETERS), chance) for _ in range(30 * factor))]
    for number, name in enumerate(names):
        place = "?" if number % 2 else "?a=1&"
        style = ("text", "json", "github", "sarif")[number % 4]
        setting = f"model.path=https://example.com/m.onnx{place}{name}={CANARY}"
        ended = onnxpack("validate", "spec.yaml", "--set", setting, "--format", style)
        assert ended.code == 2, name
        assert CANARY not in ended.out + ended.err
        assert "holds a secret" in ended.out + ended.err
    count_attacks(len(names))


def _respell(name: str, chance: random.Random) -> str:
    """Return a name as another server writes it: with a word before it, in capitals, or with some letters escaped."""
    how = chance.randrange(3)
    if how == 0:
        return f"{chance.choice(('x', 'my', 'api', 'user'))}_{name}" if name not in ("pat", "code") else name
    if how == 1:
        return name.upper()
    return "".join(f"%{ord(char):02X}" if chance.random() < 0.3 else char for char in name)


@pytest.mark.case("B11")
def test_a_login_for_a_fetched_model_is_in_no_file_and_no_error(
    house: House, web: Web, count_attacks: Callable[[int], None]
) -> None:
    model = (house.root / "project/model.onnx").read_bytes()
    web.content = model
    url = f"{web.url}?versionId={CANARY}"  # of no name that a secret has, and hidden all the same
    digest = hashlib.sha256(model).hexdigest()
    spec = SPEC.replace("path: model.onnx", f"path: '{url}', sha256: {digest}")
    (house.root / "project/fetched.yaml").write_text(spec)
    for script, code in (["401"], 5), (["404"], 5), (["200"], 5), ([], 0):
        web.script = script
        house.run("build", "fetched.yaml", "--until", "export", code=code)
    assert (house.root / "store/download").exists()
    assert house.search() > 3
    assert web.logins == [None] * len(web.logins), "no login goes over http"
    count_attacks(4)
