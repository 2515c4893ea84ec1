"""Secrets are known by their names and their shapes, and are in nothing that is shown."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onnxpack.cli import failure
from onnxpack.core.errors import Problem
from onnxpack.core.redact import HIDDEN, find_secret, is_secret_name, redact
from onnxpack.spec.load import load

CANARY = "c4n4ry-0f-th3-t3st"
PARAMETERS = [
    "password", "passwd", "pwd", "pass", "apikey", "api_key", "api-key", "key", "access_key", "AWSAccessKeyId",
    "secret", "client_secret", "token", "access_token", "accessToken", "private_token", "PRIVATE-TOKEN", "sas", "sig",
    "signature", "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "X-Goog-Signature", "auth",
    "authorization", "jwt",
    "session", "dbpassword", "bearer", "oauth", "cookie", "otp", "pat", "sign", "code", "Key-Pair-Id",
]  # fmt: skip
HARMLESS = ["versionId", "download", "raw", "rev", "alt", "generation", "tokenizer", "monkey", "author", "passage",
            "country_code", "signed"]  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_usual_name_of_a_secret_is_known_in_a_url(name: str) -> None:
    assert find_secret(f"https://example.com/m.onnx?a=1&{name}={CANARY}") == f"its parameter '{name}'"
    assert find_secret(f"https://example.com/m.onnx#{name}={CANARY}") == f"its parameter '{name}'"


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_parameter_is_no_secret(name: str) -> None:
    assert find_secret(f"https://example.com/m.onnx?{name}=1") is None


TOKENS = [
    "ghp_" + "a1B2" * 9, "github_pat_" + "a1B2" * 9, "glpat-" + "a1B2" * 5, "hf_" + "a1B2" * 8, "AKIA" + "A1B2" * 4,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\nMIIE",
]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_known_by_its_shape(token: str) -> None:
    assert redact(f"the server says {token}") == f"the server says {HIDDEN}"


def test_a_token_in_a_path_or_a_harmless_parameter_is_found() -> None:
    assert find_secret(f"https://example.com/{TOKENS[3]}/m.onnx") == "its path"
    assert find_secret(f"https://example.com/m.onnx?ref={TOKENS[0]}") == "its parameter 'ref'"


SHOWN = [
    (f"https://me:{CANARY}@example.com/m.onnx", "https://***@example.com/m.onnx"),
    (f"https://me:p@{CANARY}@example.com/m.onnx", "https://***@example.com/m.onnx"),
    (f"https://{CANARY}@example.com", "https://***@example.com"),
    (f"https://example.com/m?x={CANARY}&y={CANARY}", "https://example.com/m?***&***"),
    (f"password: {CANARY}", "password: ***"),
    (f"image.env.API_TOKEN={CANARY}", "image.env.API_TOKEN=***"),
    (f'{{"client_secret": "{CANARY}, and more"}}', '{"client_secret": ***}'),
    (f"--password={CANARY}", "--password=***"),
    (f"Authorization: Bearer {CANARY}", "Authorization: *** ***"),
    (f"X-Api-Key: {CANARY}", "X-Api-Key: ***"),
]


@pytest.mark.parametrize(("text", "expected"), SHOWN)
def test_a_secret_is_hidden_wherever_it_stands(text: str, expected: str) -> None:
    assert redact(text) == expected
    assert redact(redact(text)) == expected
    assert CANARY not in redact(text, keep_width=True)
    assert len(redact(text, keep_width=True)) == len(text)


PLAIN = [
    "weights_key: checkpoint.model",
    "sha256: 6f22e5054846dc917af34969df6651d28169192eb58525d7285e46da17de983c",
    "is this so? a=b, and tokenizer: tokenizer.json",
    "https://example.com/a/m.onnx is not there: 404 Not Found",
    "optimize: basic is standard; a key must be a word: 'x'",
    "mail@example.com",
]


@pytest.mark.parametrize("text", PLAIN)
def test_what_is_no_secret_is_left(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("name", ["DB_PASSWORD", "dbPassword", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "registry.token"])
def test_a_variable_is_known_by_the_end_of_its_name(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["weights_key", "tokenizer", "token_count", "", "secretary", "passwordless"])
def test_another_name_is_no_secret(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize("piece", ["a", "?", "&a", "a=", "://", "a@", "eyJ", "-----BEGIN ", "a: ", "password ", "'"])
def test_a_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    assert len(redact(text)) <= len(text) + 100  # by the length squared, this would never end


def test_a_problem_holds_no_secret_in_any_format() -> None:
    url = f"https://me:{CANARY}@example.com/m.onnx"
    problem = Problem(f"cannot fetch {url}", f"try {url}", detail=f"log\npassword={CANARY}\n")
    assert CANARY not in f"{problem!r}{problem}{failure.describe(problem)}"


def test_a_bug_report_holds_no_secret(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: object) -> None:
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # type: ignore[attr-defined]
    try:
        raise ZeroDivisionError(f"at https://me:{CANARY}@example.com")
    except ZeroDivisionError as error:
        failure.tell(error)
    (report,) = tmp_path.iterdir()
    assert "ZeroDivisionError" in report.read_text()
    assert CANARY not in capsys.readouterr().err + report.read_text()


SPEC = {
    "onnxpack": 1,
    "name": "a",
    "model": {"framework": "onnx", "path": "https://example.com/m.onnx", "sha256": "0" * 64},
    "inputs": {"x": {"dtype": "float32", "shape": [4]}},
}
SETTINGS = [
    f"model.path=https://me:{CANARY}@example.com/m.onnx",
    f"model.path=https://example.com/m.onnx?apikey={CANARY}",
    f"model.path=https://example.com/$/m.onnx?private_token={CANARY}",
    f"model.path=https://{'x' * 50}:{CANARY}@example.com/${{X}}",
    f"image.env.API_TOKEN='{CANARY}\x07'",
    f"nosuch.password={CANARY}",
    f"model.kwargs.password.deeper={CANARY}",
]


@pytest.mark.case("B11")
@pytest.mark.parametrize("style", ["text", "json", "github", "sarif"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_secret_that_was_set_is_in_no_error(tmp_path: Path, setting: str, style: str) -> None:
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    command = [sys.executable, "-m", "onnxpack", "validate", "spec.yaml", "--set", setting, "--format", style]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert CANARY not in ended.stdout + ended.stderr
    assert "--set" in ended.stdout + ended.stderr or style != "text"


def test_a_secret_in_a_file_is_not_quoted_with_the_error(tmp_path: Path) -> None:
    text = json.dumps(SPEC | {"model": SPEC["model"] | {"path": f"https://example.com/m.onnx?sas={CANARY}"}})  # type: ignore[operator]
    (tmp_path / "spec.yaml").write_text(text)
    command = [sys.executable, "-m", "onnxpack", "validate", "spec.yaml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "holds a secret in its parameter 'sas'" in ended.stderr
    assert CANARY not in ended.stderr


def test_what_the_report_tells_of_settings_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
    settings = (f"image.env.API_TOKEN={CANARY}", "version=1.0.1")
    file = load(tmp_path / "spec.yaml", settings)
    assert file.settings == ("image.env.API_TOKEN=***", "version=1.0.1")
    assert file.spec.image.env["API_TOKEN"] == CANARY
