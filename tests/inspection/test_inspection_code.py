from pathlib import Path

import pytest

from onnxpack.inspection.code import find_class

NET = """
raise RuntimeError("this file is parsed, never run")
class Plain:
    def __init__(self): self.fc = 1
class Other(nn.Module):
    def __init__(self): self.conv = 1
class Net(torch.nn.Module):
    def __init__(self, hidden, depth=2):
        self.fc = nn.Linear(4, hidden)
        self.register_buffer("mean", None)
    def forward(self, x, y, mask=None): ...
"""
KEYS = ["fc.weight", "fc.bias", "mean"]


def test_the_class_whose_attributes_fit_is_found_above(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "model.py").write_text(NET)
    found = find_class(["module." + key for key in KEYS], tmp_path / "weights/w.pt", tmp_path / "weights", tmp_path)
    assert found
    assert (found.reference, found.arguments) == ("../model.py:Net", ("x", "y"))
    assert "kwargs: {hidden: …}" in found.explain(())[1]
    assert len(found.explain(["hidden"])) == 1


def test_nothing_above_the_root_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "model.py").write_text(NET)
    assert find_class(KEYS, tmp_path / "weights/w.pt", tmp_path / "weights", tmp_path / "weights") is None


@pytest.mark.parametrize("text", ["def (", "x = " + "(" * 500 + ")" * 500, "\0", NET.replace("self.fc", "self.gc")])
def test_what_does_not_parse_or_fit_is_passed_over(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.py").write_text(text)
    (tmp_path / "folder.py").mkdir()
    assert find_class(KEYS, tmp_path / "w.pt", tmp_path, tmp_path) is None
