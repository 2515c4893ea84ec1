"""The example of a repository is safe and true: schemas, pinned actions, few rights, and options that exist."""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from onnxpack.cli import VERBS

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gitops"
REPOSITORY = EXAMPLE / "repository"
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))
ACTION = REPOSITORY / ".github/actions/onnxpack/action.yml"
GITLAB = REPOSITORY / ".gitlab-ci.yml"


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def list_steps(path: Path) -> list[dict[str, Any]]:
    document = read(path)
    jobs = document["jobs"].values() if "jobs" in document else [document["runs"]]
    return [step for job in jobs for step in job["steps"]]


def list_scripts() -> Iterator[tuple[str, str]]:
    """Every script of the workflows, with the name of its file."""
    for path in (*WORKFLOWS, ACTION):
        for step in list_steps(path):
            if "run" in step:
                yield path.name, step["run"]
    for name, job in read(GITLAB).items():
        for key in ("script", "before_script"):
            if isinstance(job, dict) and key in job:
                yield f"{GITLAB.name} {name}", "\n".join(job[key])


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        *(("github-workflows", path) for path in WORKFLOWS),
        ("github-actions", ACTION),
        ("gitlab-ci", GITLAB),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_files_fit_their_published_schemas(schema: str, path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", path]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_actions_are_pinned_by_their_commits_with_the_version_beside() -> None:
    pinned = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    found = [
        line.partition("uses: ")[2]
        for path in (*WORKFLOWS, ACTION)
        for line in path.read_text().splitlines()
        if "uses: " in line
    ]
    others = {line for line in found if not pinned.fullmatch(line)}
    assert others == {"./.github/actions/onnxpack"}
    versions: dict[str, set[str]] = {}
    for line in found:
        versions.setdefault(line.partition("@")[0], set()).add(line)
    assert all(len(lines) == 1 for lines in versions.values()), "an action has one version in all files"


def test_jobs_have_the_rights_that_they_need_and_no_more() -> None:
    rights = {}
    for path in WORKFLOWS:
        document = read(path)
        assert document["permissions"] == {"contents": "read"}
        for name, job in document["jobs"].items():
            rights[path.stem, name] = {right for right, value in job.get("permissions", {}).items() if value == "write"}
            assert job["timeout-minutes"] <= 120
    assert rights == {
        ("deliver", "build"): {"packages", "id-token"},
        ("deliver", "deploy"): {"contents"},
        ("pull-request", "plan"): set(),
        ("pull-request", "comment"): {"pull-requests"},
        ("pull-request", "build"): {"id-token"},
    }


def test_only_the_job_that_commits_keeps_a_login_in_its_clone() -> None:
    keeping = {
        (path.stem, name)
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    }
    assert keeping == {("deliver", "deploy")}


def test_no_expression_gets_into_a_script() -> None:
    assert [name for name, script in list_scripts() if "${{" in script] == []


def test_a_pull_request_names_no_secret_and_only_reads_the_shared_store() -> None:
    path = REPOSITORY / ".github/workflows/pull-request.yml"
    assert "secrets." not in path.read_text()
    assert read(path)["env"]["ONNXPACK_REMOTE_CACHE_MODE"] == "read"
    assert "pull_request_target" not in path.read_text()
    assert not any("--push" in step.get("run", "") for step in list_steps(path))
    rules = read(GITLAB)["workflow"]["rules"]
    (review,) = (rule for rule in rules if "merge_request_event" in rule["if"])
    assert review["variables"] == {"ONNXPACK_REMOTE_CACHE_MODE": "read"}


def test_scripts_are_such_that_a_shell_reads_them() -> None:
    for name, script in list_scripts():
        checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert checked.returncode == 0, f"{name}: {checked.stderr}"


def test_every_command_is_one_that_stands() -> None:
    found = set()
    for name, script in list_scripts():
        for verb, arguments in re.findall(r"\bonnxpack ([a-z]+) ((?:[^|;)\n]|\n +--)*)", script):
            assert verb in VERBS, f"{name}: {verb}"
            known = {
                option
                for parameter in importlib.import_module(f"onnxpack.cli.{verb}").command.params
                for option in parameter.opts
            }
            asked = set(re.findall(r"--[a-z-]+", arguments))
            assert asked <= known, f"{name}: onnxpack {verb} {asked - known}"
            found |= {(verb, option) for option in asked}
    assert {("lock", "--check"), ("plan", "--changed-since"), ("build", "--push"), ("manifests", "--update")} <= found


def test_clusters_follow_the_folder_that_the_workflow_writes() -> None:
    (argo,) = yaml.safe_load_all((REPOSITORY / "clusters/argocd/models.yaml").read_text())
    assert argo["spec"]["generators"][0]["git"]["directories"] == [{"path": "deploy/models/*"}]
    source, flux = yaml.safe_load_all((REPOSITORY / "clusters/flux/models.yaml").read_text())
    assert flux["spec"]["path"] == "./deploy/models"
    assert flux["spec"]["sourceRef"] == {"kind": source["kind"], "name": source["metadata"]["name"]}
    assert not (REPOSITORY / "deploy/models/kustomization.yaml").exists(), "Flux makes the list itself"
    scripts = "\n".join(script for _, script in list_scripts())
    assert scripts.count("--output deploy/models") == scripts.count("--update deploy/models") == 2


@pytest.fixture
def workflows(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module of the example that runs workflows."""
    monkeypatch.syspath_prepend(EXAMPLE)
    return importlib.import_module("workflows")


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (None, True),
        ("github.actor == 'me'", True),
        ("github.actor != 'me'", False),
        ("vars.NONE != ''", False),
        ("fromJSON(needs.plan.outputs.matrix).include[0] != null", True),
        ("fromJSON(needs.plan.outputs.matrix).include[1] != null", False),
        ("github.actor == 'me' && vars.NONE != ''", False),
    ],
)
def test_conditions_are_evaluated_as_github_does(workflows: Any, condition: str | None, holds: bool) -> None:
    matrix = json.dumps({"include": [{"spec": "a"}]})
    known = {"github": {"actor": "me"}, "vars": {}, "needs": {"plan": {"outputs": {"matrix": matrix}}}}
    assert workflows.evaluate_condition(condition, known) is holds


def test_a_matrix_is_a_product_or_a_list(workflows: Any) -> None:
    job = {"strategy": {"matrix": {"a": [1, 2], "b": [3]}}}
    assert list(workflows.list_matrix(job, {})) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
    assert list(workflows.list_matrix({}, {})) == [{}]
    asked = {"strategy": {"matrix": "${{ fromJSON(text) }}"}}
    assert list(workflows.list_matrix(asked, {"text": '{"include": [{"a": 1}]}'})) == [{"a": 1}]


def test_outputs_of_a_step_may_have_several_lines(workflows: Any) -> None:
    assert workflows.read_outputs("a=1=2\nb<<end\nx\ny=z\nend\nc=\n") == {"a": "1=2", "b": "x\ny=z", "c": ""}
