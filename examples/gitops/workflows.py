"""Run the steps of GitHub's workflow files on this machine: what is tested is what stands in the files.

Of the language of workflows this knows what those of this example use. Steps with ``run`` are run by bash, as a runner
does it; of the actions, checkout and the passing of artifacts are done here, and all others are left out: the command
line stands already, the store is kept by its folder, and the registry of this machine wants no login.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import product
from pathlib import Path
from typing import Any

import yaml

_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_FUNCTION = re.compile(r"fromJSON\((.*?)\)(.*)")


@dataclass
class Runner:
    """A machine that runs workflows: its folders, and the variables that its jobs see."""

    home: Path
    origin: Path
    """The bare repository."""
    variables: Mapping[str, str]
    vars: Mapping[str, str] = field(default_factory=dict)
    """The repository's own variables, which workflows name as ``vars.NAME``."""

    @property
    def checkout(self) -> Path:
        """Return the folder that jobs work in, which is the same for all of them, as on a real runner."""
        return self.home / "work" / "models"

    def run(self, workflow: str, event: Mapping[str, Any], ref: str = "refs/heads/main") -> None:
        """Run a workflow of the branch ``main``, on what ``ref`` is in the origin.

        Raises:
            CalledProcessError: a step failed.
        """
        file = yaml.safe_load(self._git("show", f"{ref}:.github/workflows/{workflow}"))
        artifacts = self.home / "artifacts"
        shutil.rmtree(artifacts, ignore_errors=True)
        known: dict[str, Any] = {"github": _describe_github(event), "vars": self.vars, "needs": {}}
        for name, job in file["jobs"].items():  # they are written in the order of their needs
            if not evaluate_condition(job.get("if"), known):
                continue
            for index, values in enumerate(list_matrix(job, known)):
                of = known | {"matrix": values, "strategy": {"job-index": index}, "steps": {}}
                _Job(self, file.get("env", {}) | job.get("env", {}), of, ref, artifacts).run(job["steps"])
                outputs = {key: resolve(value, of) for key, value in job.get("outputs", {}).items()}
                known["needs"][name] = {"outputs": outputs}

    def starts(self, workflow: str, before: str, after: str) -> bool:
        """Return whether a push starts a workflow, by the paths that changed."""
        file = yaml.safe_load(self._git("show", f"{after}:.github/workflows/{workflow}"))
        changed = self._git("diff", "--name-only", before, after).split()
        patterns = file[True]["push"]["paths"]  # YAML 1.1 reads the word `on` as true
        return any(fnmatch(path, pattern) for path in changed for pattern in patterns)

    def _git(self, *arguments: str) -> str:
        command = ["git", "-C", self.origin, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@dataclass
class _Job:
    """One job with the values of its matrix."""

    runner: Runner
    environment: Mapping[str, str]
    known: dict[str, Any]
    ref: str
    artifacts: Path

    def run(self, steps: list[dict[str, Any]]) -> None:
        """Run the steps one after another in an empty folder."""
        place = self.runner.checkout
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for number, step in enumerate(steps):
            if not evaluate_condition(step.get("if"), self.known):
                continue
            if "run" in step:
                self._run_script(step, place / f"../step-{number}")
            elif step["uses"].startswith("actions/checkout@"):
                self._check_out(int(step.get("with", {}).get("fetch-depth", 1)))
            elif step["uses"].startswith("actions/upload-artifact@"):
                self._upload(resolve(step["with"]["name"], self.known), step["with"]["path"])
            elif step["uses"].startswith("actions/download-artifact@"):
                self._download(step["with"].get("name") or step["with"]["pattern"], step["with"].get("path", "."))

    def _run_script(self, step: Mapping[str, Any], prefix: Path) -> None:
        files = {name: f"{prefix}.{name}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for path in files.values():
            Path(path).write_text("")
        given = {**self.environment, **step.get("env", {})}
        environment = {name: resolve(str(value), self.known) for name, value in given.items()}
        subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.runner.checkout,
            env={
                **self.runner.variables, "GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": str(self.runner.checkout),
                **environment, **files,
            },
            check=True,
        )  # fmt: skip
        if "id" in step:
            outputs = read_outputs(Path(files["GITHUB_OUTPUT"]).read_text())
            self.known["steps"][step["id"]] = {"outputs": outputs}

    def _check_out(self, depth: int) -> None:
        place = self.runner.checkout
        origin = self.runner.origin.as_uri()  # by its path, git would make no shallow clone
        commands = [["init", "--quiet", "--initial-branch", "main"], ["remote", "add", "origin", origin]]
        commands += [["fetch", "--quiet", "--depth", str(depth), "origin", self.ref], ["reset", "--quiet", "--hard"]]
        commands[-1].append("FETCH_HEAD")
        commands += [["config", "branch.main.remote", "origin"], ["config", "branch.main.merge", "refs/heads/main"]]
        for command in commands:
            subprocess.run(["git", "-C", place, *command], check=True)

    def _upload(self, name: str, pattern: str) -> None:
        root = Path(*list(Path(pattern).parts[: _count_plain(pattern)]))
        for path in sorted(self.runner.checkout.glob(pattern)):
            target = self.artifacts / name / path.relative_to(self.runner.checkout / root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)

    def _download(self, pattern: str, path: str) -> None:
        for folder in sorted(self.artifacts.glob(pattern)):
            shutil.copytree(folder, self.runner.checkout / path, dirs_exist_ok=True)


def _count_plain(pattern: str) -> int:
    """Return how many folders of a pattern come before its first wildcard: an artifact's paths begin behind them."""
    parts = Path(pattern).parts
    return next((index for index, part in enumerate(parts) if "*" in part), len(parts) - 1)


def _describe_github(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"event": event, "repository": "acme/models", "token": "none", "actor": "somebody", "job": "job"}


def list_matrix(job: Mapping[str, Any], known: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the values of each job that a matrix makes; of a job without one, none once."""
    matrix = job.get("strategy", {}).get("matrix", {})
    found = evaluate(_EXPRESSION.fullmatch(matrix)[1], known) if isinstance(matrix, str) else matrix  # type: ignore[index]
    if "include" in found:
        yield from found["include"]
        return
    for values in product(*found.values()):
        yield dict(zip(found, values, strict=True))


def resolve(text: str, known: Mapping[str, Any]) -> str:
    """Return a text with its expressions evaluated."""
    return _EXPRESSION.sub(lambda match: _show(evaluate(match[1], known)), text)


def _show(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def evaluate_condition(text: str | None, known: Mapping[str, Any]) -> bool:
    """Return whether all comparisons of a condition hold; none always does."""
    return text is None or all(_compare(part, known) for part in text.split(" && "))


def _compare(text: str, known: Mapping[str, Any]) -> bool:
    left, operator, right = re.split(" (==|!=) ", text)
    found = [evaluate(side, known) for side in (left, right)]
    one, other = ("" if value is None else value for value in found)  # for GitHub, null and an empty text are equal
    return (one == other) == (operator == "==")


def evaluate(text: str, known: Mapping[str, Any]) -> Any:
    """Return the value of a literal, of a path such as ``steps.plan.outputs.matrix``, or of JSON in one."""
    if text == "null" or text.startswith("'"):
        return None if text == "null" else text[1:-1]
    if found := _FUNCTION.fullmatch(text):
        return _walk(json.loads(evaluate(found[1], known)), found[2])
    return _walk(known, f".{text}")


def _walk(value: Any, path: str) -> Any:
    for key, index in re.findall(r"\.([\w-]+)|\[(\d+)\]", path):
        if key:
            value = value.get(key) if isinstance(value, Mapping) else None
        else:
            value = value[int(index)] if isinstance(value, list) and int(index) < len(value) else None
    return value


def read_outputs(text: str) -> dict[str, str]:
    """Read the file of a step's outputs: ``name=value``, or several lines up to a word."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        if match := re.fullmatch(r"([\w-]+)<<(.+)", line):
            values = []
            for more in lines:
                if more == match[2]:
                    break
                values.append(more)
            found[match[1]] = "\n".join(values)
        elif line:
            name, _, value = line.partition("=")
            found[name] = value
    return found


def make_programs(folder: Path, programs: Mapping[str, str]) -> str:
    """Write scripts of the shell into a folder, and return a PATH that begins with it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"
