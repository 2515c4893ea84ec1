"""The splits of trees are tried at their thresholds: a float32 off by one is found, right trees are not blamed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from exporting import Made, export_here, write_spec
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from onnxpack.core.artifacts import Artifact
from onnxpack.core.digests import digest_file
from onnxpack.core.values import MODEL, Reference
from onnxpack.hunt import hunt
from onnxpack.hunt.columns import find_columns
from onnxpack.hunt.forest import find_paths, read_forest
from onnxpack.parity.compare import Comparison, Tolerance, verify_model
from onnxpack.spec.load import SpecFile

X = np.random.default_rng(0).uniform(0, 8, (300, 4)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > X[:, 2] * 2).astype(int) + (X[:, 3] > 4)
CLASSES = RandomForestClassifier(12, max_depth=6, random_state=0)
VALUES = GradientBoostingRegressor(n_estimators=20, random_state=0)


def trained(folder: Path, estimator: Any, inputs: dict[str, Any] | None = None, x: Any = X, **fields: Any) -> SpecFile:
    joblib.dump(estimator.fit(x, Y), folder / "m.joblib")
    model = {"framework": "sklearn", "path": "m.joblib", "sha256": digest_file(folder / "m.joblib")}
    inputs = inputs or {"x": {"dtype": "float32", "shape": ["n", 4], "range": [0, 8]}}
    return write_spec(folder, model, inputs=inputs, **{"dynamic_axes": {"n": [1, 256]}, **fields})


def judged(made: Made, model: Path, hunted: bool) -> list[Comparison]:
    reference = replace(made.reference, cases=(), sizes=()) if hunted else replace(made.reference, hunted={})
    return verify_model(model, reference, Tolerance())


def moved_threshold(model: onnx.ModelProto, index: int) -> onnx.ModelProto:
    """The model with one threshold replaced by the next float32."""
    found = onnx.ModelProto.FromString(model.SerializeToString())
    attributes = {attribute.name: attribute for node in found.graph.node for attribute in node.attribute}
    splits = [place for place, mode in enumerate(attributes["nodes_modes"].strings) if mode != b"LEAF"]
    values = attributes["nodes_values"].floats
    place = splits[index % len(splits)]
    values[place] = np.nextafter(np.float32(values[place]), np.float32(np.inf))
    return found


@pytest.mark.parametrize("index", [0, 7, 40])
def test_one_flipped_float32_is_found_that_random_rows_miss(tmp_path: Path, index: int) -> None:
    file = trained(tmp_path, CLASSES, dynamic_axes={"n": [1, 10_000]})
    made = export_here(file, tmp_path / "out")
    wrong = tmp_path / "wrong.onnx"
    onnx.save(moved_threshold(made.proto, index), wrong)
    assert not any(row.reason for row in judged(made, wrong, hunted=False)), "10,000 random rows miss it"
    source = joblib.load(tmp_path / "m.joblib")
    found = hunt(file.spec, wrong, 0, lambda given: [source.predict(given["x"]), source.predict_proba(given["x"])])
    for case in found.cases:
        for kind, arrays in (("inputs", case.inputs), ("outputs", case.outputs)):
            np.savez(tmp_path / f"{case.name}.{kind}.npz", **arrays)
    reference = Reference(Artifact.of(tmp_path), tuple(case.name for case in found.cases))
    assert any(row.reason for row in verify_model(wrong, reference, Tolerance()))


@pytest.mark.parametrize(
    "estimator",
    [CLASSES, VALUES, HistGradientBoostingClassifier(max_iter=5), make_pipeline(StandardScaler(), CLASSES)],
    ids=["forest", "boosted", "histogram", "scaled"],
)
def test_right_trees_pass_at_all_their_thresholds(tmp_path: Path, estimator: Any) -> None:
    made = export_here(trained(tmp_path, estimator), tmp_path / "out")
    assert "hunt_trees_00" in made.reference.hunted
    assert all("splits" in note for note in made.reference.notes)
    assert not [row for row in judged(made, made.model.path, hunted=True) if row.reason]


def test_a_flipped_threshold_behind_a_scaler_is_found_when_it_is_off_by_more_than_rounding(tmp_path: Path) -> None:
    file = trained(tmp_path, make_pipeline(StandardScaler(), CLASSES))
    made = export_here(file, tmp_path / "out")
    wrong = onnx.ModelProto.FromString(made.proto.SerializeToString())
    for node in wrong.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_values":
                attribute.floats[0] += 1e-4
    onnx.save(wrong, tmp_path / "wrong.onnx")
    source = joblib.load(tmp_path / "m.joblib")

    def answer(given: Any) -> Any:
        return [source.predict(given["x"]), source.predict_proba(given["x"])]

    assert [case for case in hunt(file.spec, tmp_path / "wrong.onnx", 0, answer).cases if case.name == "hunt_trees_00"]


def test_every_node_is_reached_by_the_values_that_lead_to_it(tmp_path: Path) -> None:
    made = export_here(trained(tmp_path, CLASSES), tmp_path / "out")
    forest = read_forest(made.proto.graph.node[0])
    low, high = find_paths(forest, 4)
    rows = np.clip(X[:1], low, high)
    for tree, root in enumerate(forest.roots):
        last = forest.roots[tree + 1] if tree + 1 < len(forest.roots) else len(forest.mode)
        for node in range(root, last):
            at, seen = root, {root}
            while forest.mode[at] != -1 and at != node:
                goes = rows[node, forest.feature[at]] <= forest.threshold[at]
                at = forest.true[at] if goes else forest.false[at]
                seen.add(at)
            assert node in seen


def test_columns_of_a_table_are_followed_through_its_steps(tmp_path: Path) -> None:
    steps = ColumnTransformer([("s", StandardScaler(), [2, 0]), ("o", OneHotEncoder(handle_unknown="ignore"), [3])])
    whole = X.copy()
    whole[:, 3] = np.floor(X[:, 3])
    columns = [{"range": [0, 8]}] * 3 + [{"range": [0, 7], "integers": True}]
    inputs = {"x": {"dtype": "float32", "shape": ["n", 4], "columns": columns}}
    file = trained(tmp_path, make_pipeline(steps, CLASSES), inputs, whole)
    made = export_here(file, tmp_path / "out")
    node = next(node for node in made.proto.graph.node if node.op_type == "TreeEnsembleClassifier")
    found = find_columns(made.proto.graph, node.input[0], file.spec)
    assert found is not None
    assert [column and column.place for column in found] == [2, 0, *[None] * 8]
    assert not [row for row in judged(made, made.model.path, hunted=True) if row.reason]
    assert any("splits of the trees are tried" in note for note in list(made.reference.notes))
    assert (made.folder / MODEL).exists()
