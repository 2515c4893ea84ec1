"""What benchmarks/fleet writes and makes of figures, without a measurement."""

from pathlib import Path

from benchmarks.fleet.specs import KINDS, write_fleet, write_spec
from onnxpack.spec.load import load


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*") if ".git" not in path.parts}


def test_a_fleet_is_valid_specs_that_differ_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    count = len(KINDS) + 1
    for name in ("a", "b"):
        files = write_fleet(tmp_path / name, count)
        assert len({load(file).spec.name for file in files}) == count
    first = read_tree(tmp_path / "a")
    assert first == read_tree(tmp_path / "b")
    models = [data for name, data in first.items() if not name.endswith((".yaml", ".py"))]
    assert len(set(models)) == len(models) >= count - 1


def test_a_variant_changes_one_model_and_keeps_its_form(tmp_path: Path) -> None:
    for file in write_fleet(tmp_path, len(KINDS)):
        before, number = read_tree(file.parent.parent), int(file.parent.name.split("-")[1])
        old = load(file).spec
        assert write_spec(tmp_path, number, 1) == file
        new, after = load(file).spec, read_tree(tmp_path)
        assert (new.inputs, new.name) == (old.inputs, old.name)
        changed = {Path(name).parent.name for name in after if after[name] != before[name]}
        assert changed == {file.parent.name}
