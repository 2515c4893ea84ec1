"""What sets a working copy up installs nothing without its hash but the project itself."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_setup_installs_by_hash_alone() -> None:
    text = (ROOT / "scripts/setup").read_text().replace("\\\n", " ")
    installing = [line for line in text.splitlines() if re.search(r'"\$\{(pip|uv)\[@\]\}"|pip install', line)]
    arrays = [line for line in installing if re.match(r"(pip|uv)=\(", line)]
    assert "--require-hashes" in arrays[0]
    others = [line for line in installing if line not in arrays and '"${pip[@]}"' not in line]
    assert [line for line in others if "--require-hashes" not in line] == [
        '"${uv[@]}" --no-deps --no-build-isolation --editable .'
    ]


@pytest.mark.parametrize("name", ["requirements.lock", "torch.lock"])
def test_a_lock_of_the_working_copy_has_hashes_for_each_package(name: str) -> None:
    entries = re.split(r"\n(?=[a-zA-Z])", re.sub(r"(?m)^#.*\n", "", (ROOT / name).read_text()))
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
