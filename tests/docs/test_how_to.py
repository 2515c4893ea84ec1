"""Every spec that a page shows whole is a valid one, with the files that it names."""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformer_folders import make_tokenizer

from onnxpack.spec.load import load
from onnxpack.spec.traits import frameworks

ROOT = Path(__file__).resolve().parents[2]
_SPEC = re.compile(r'^```yaml(?: title="([^"]*)")?\n(onnxpack: 1\n.*?)^```$', re.MULTILINE | re.DOTALL)


def specs() -> list[Any]:
    """List the whole specs of all pages, each with the folder of an example that it is shown for."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [
        pytest.param(title.partition("in ")[2], text, id=f"{page.stem}-{number}")
        for page in pages
        for number, (title, text) in enumerate(_SPEC.findall(page.read_text()), 1)
    ]


def make_files(folder: Path, text: str) -> str:
    """Make the files that a spec names, and return the spec with the digest of the model's one."""
    fields = yaml.safe_load(text)
    model = fields["model"]
    if model["framework"] == "transformers":
        make_folder(folder, fields)
        return text
    named = [model.get("path"), model.get("weights"), model.get("factory", "").partition(":")[0]]
    for name in named:
        if name and ("/" in name or "." in name) and not (name == named[2] and not name.endswith(".py")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"a spec's checks read no model")
    if "sha256" not in model:
        return text
    return text.replace(model["sha256"], hashlib.sha256((folder / model["path"]).read_bytes()).hexdigest())


def make_folder(folder: Path, fields: dict[str, Any]) -> None:
    """Make what a spec of a folder names: its settings, a tokenizer and labels."""
    (folder / fields["model"]["path"]).mkdir()
    (folder / fields["model"]["path"] / "config.json").write_text("{}")
    for step in fields["preprocess"]:
        make_tokenizer().save(str(folder / step["tokenizer"]))
    for step in fields["postprocess"]:
        if "labels" in step:
            (folder / step["labels"]).write_text("negative\npositive\n")


@pytest.mark.parametrize(("example", "text"), specs())
def test_spec_that_a_page_shows_whole_is_valid(example: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    if example:
        shutil.copytree(ROOT / example, folder, ignore=shutil.ignore_patterns("spec.yaml"))
    else:
        folder.mkdir()
        text = make_files(folder, text)
    (folder / "shown.yaml").write_text(text)
    assert load(folder / "shown.yaml").spec.inputs


def test_pages_show_a_spec_for_every_framework() -> None:
    shown = {yaml.safe_load(parameter.values[1])["model"]["framework"] for parameter in specs()}
    assert shown == set(frameworks())
    assert len(specs()) >= 12
