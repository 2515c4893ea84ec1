"""One driver runs every framework through the contract of ``onnxpack.sources.Source``, on the example specs."""

import importlib
import inspect
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest
from estimators import NUMBERS, TABLE
from exporting import Made, export_here, export_in_child, write_spec
from onnx_examples import MATMUL, constant, make_model

from onnxpack.core.digests import digest_tree
from onnxpack.core.values import MODEL
from onnxpack.data.case_budget import Budget
from onnxpack.data.test_inputs import draw, list_main_sizes
from onnxpack.sources import Source, load_source
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.part import list_named_files
from onnxpack.spec.traits import frameworks

SPECS = Path(__file__).parents[2] / "specs"
MADE_HERE = ("onnx", "lightgbm", "catboost", "transformers")
EXAMPLES = ("iris", "transactions", "digits", "passengers", "spam", "boosted", *MADE_HERE)
NEEDS = {
    "passengers": ("pandas",),
    "boosted": ("xgboost", "onnxmltools"),
    "xgboost": ("xgboost", "onnxmltools"),
    "lightgbm": ("lightgbm", "onnxmltools"),
    "catboost": ("catboost",),
    "keras": ("tensorflow", "keras"),
    "transformers": ("onnxpack.sources.transformers",),
}
"""What an example or a framework needs besides what all tests have."""
OUTPUTS = {
    "iris": [("label", "int64", ("batch",)), ("probabilities", "float32", ("batch", 3))],
    "transactions": [("score", "float32", ("batch",))],
    "digits": [("log_probabilities", "float32", ("batch", 10))],
    "onnx": [("y", "float32", ("n", 4))],
    "passengers": [("survived", "int64", ("batch",)), ("probabilities", "float32", ("batch", 2))],
    "spam": [("label", "string", ("batch",)), ("probabilities", "float32", ("batch", 2))],
    "boosted": [("progression", "float32", ("batch", 1))],
    "lightgbm": [("variable", "float32", ("n", 1))],
    "catboost": [("variable", "float32", ("n", 1))],
    "transformers": [("logits", "float32", ("batch", 3))],
}
OPSETS = dict.fromkeys(EXAMPLES, 17) | {"transactions": 13, "onnx": 20}


@pytest.fixture(scope="module", params=EXAMPLES)
def file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SpecFile:
    """A copy of an example, so that whatever is written beside a spec is seen and harms nothing."""
    need(request.param)
    folder = tmp_path_factory.mktemp("spec") / "example"
    if request.param in ("lightgbm", "catboost"):
        folder.mkdir()
        return boosted(request.param, folder)
    if request.param == "transformers":
        return transformer(folder)
    if request.param == "onnx":
        folder.mkdir()
        onnx.save(make_model(MATMUL, constants=[constant("w")], opset=13), folder / "old.onnx")
        return write_spec(folder, {"framework": "onnx", "path": "old.onnx"}, opset=20)
    shutil.copytree(SPECS / request.param, folder, ignore=shutil.ignore_patterns("__pycache__"))
    return load(folder / "spec.yaml")


def need(name: str) -> None:
    """Skip what this environment lacks."""
    for library in NEEDS.get(name, ()):
        pytest.importorskip(library)


def transformer(folder: Path) -> SpecFile:
    """A small BERT that classifies texts."""
    from transformer_folders import save_model

    save_model("bert", folder / "bert")
    tokens = {"dtype": "int64", "shape": ["batch", "sequence"]}
    inputs = {"input_ids": tokens | {"range": [0, 70]},
              "attention_mask": tokens | {"choices": [0, 1], "at_least_one": True}}  # fmt: skip
    model = {"framework": "transformers", "path": "bert", "exporter": "torchscript"}
    return write_spec(folder, model, inputs=inputs, dynamic_axes={"batch": [1, 8], "sequence": [1, 24]}, opset=17)


def boosted(framework: str, folder: Path) -> SpecFile:
    """A small model in its framework's own format."""
    if framework == "lightgbm":
        import lightgbm

        name = "trees.txt"
        model = lightgbm.LGBMRegressor(n_estimators=5, n_jobs=1, verbose=-1).fit(TABLE, NUMBERS)
        model.booster_.save_model(folder / name)
    else:
        import catboost

        name = "trees.cbm"
        quiet = {"verbose": 0, "allow_writing_files": False, "thread_count": 1}
        catboost.CatBoostRegressor(iterations=5, **quiet).fit(TABLE, NUMBERS).save_model(str(folder / name))
    return write_spec(folder, {"framework": framework, "path": name}, opset=17)


@pytest.fixture
def example(file: SpecFile, request: pytest.FixtureRequest) -> str:
    return str(request.node.callspec.params["file"])


@pytest.fixture(scope="module")
def before(file: SpecFile) -> dict[str, str]:
    return digest_tree(file.folder)


@pytest.fixture(scope="module")
def made(file: SpecFile, before: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Its export in a child process."""
    return export_in_child(file, tmp_path_factory.mktemp("export") / "child")


def test_the_examples_cover_every_framework() -> None:
    found = {load(SPECS / name / "spec.yaml").spec.model.framework for name in EXAMPLES if name not in MADE_HERE}
    # keras never runs in this environment: tests/sources/test_keras.py has it in its own
    assert found | set(MADE_HERE) | {"keras"} == set(frameworks())


@pytest.mark.parametrize("framework", list(frameworks()))
@pytest.mark.parametrize("name", ["load", "run", "export"])
def test_a_framework_has_the_functions_of_the_protocol(framework: str, name: str) -> None:
    need(framework)
    module = importlib.import_module(f"onnxpack.sources.{framework}")
    wanted = list(inspect.signature(getattr(Source, name)).parameters)[1:]
    assert list(inspect.signature(getattr(module, name)).parameters) == wanted


@pytest.mark.parametrize("framework", [name for name, traits in frameworks().items() if "factory" in traits.fields])
def test_a_framework_that_takes_factories_looks_for_forgotten_weights(framework: str) -> None:
    need(framework)
    module = importlib.import_module(f"onnxpack.sources.{framework}")
    assert list(inspect.signature(module.require_weights).parameters) == ["file"]


def test_a_source_is_deterministic_and_exports_what_it_runs(file: SpecFile, tmp_path: Path) -> None:
    source = load_source(file.spec.model.framework)
    model = source.load(file)
    inputs = draw(file.spec, list_main_sizes(file.spec.axes)[1], 0)
    once, again = source.run(model, inputs), source.run(model, inputs)
    assert [array.tobytes() for array in once] == [array.tobytes() for array in again]
    names = source.export(model, file, inputs, len(once), tmp_path / MODEL).names
    assert len(names) == len(once)
    assert len(onnx.load(tmp_path / MODEL).graph.output) == len(once)


def test_names_opset_and_axes_are_the_specs(file: SpecFile, made: Made, example: str) -> None:
    assert made.model.inputs == file.spec.input_infos
    assert [(info.name, info.dtype, info.shape) for info in made.model.outputs] == OUTPUTS[example]
    assert made.model.opset == OPSETS[example] == file.spec.opset
    assert [(entry.domain, entry.version) for entry in made.proto.opset_import if not entry.domain] == [
        ("", OPSETS[example])
    ]
    onnx.checker.check_model(made.proto, full_check=True)


def test_it_agrees_with_its_source_at_every_size(file: SpecFile, made: Made, example: str) -> None:
    assert list(made.reference.sizes) == list(Budget(file.spec).sizes())
    rows = made.rows()
    assert [row for row in rows if row.reason] == []
    assert len(rows) == len(made.reference.select_cases("float32")) * len(OUTPUTS[example])


def test_nothing_of_the_machine_is_in_the_file(file: SpecFile, made: Made) -> None:
    data = made.model.path.read_bytes()
    places = [file.folder, made.folder, Path.home(), Path(sys.prefix), Path(__file__).parents[2], Path("/tmp")]
    assert [place for place in places if str(place).encode() in data] == []
    assert not re.search(rb"Traceback|site-packages|\.py\b|File \"|stack_trace", data)
    assert list(_talk(made.proto)) == []
    assert (made.proto.producer_name, made.proto.producer_version) == ("onnxpack", "")


def test_two_exports_give_the_same_bytes(file: SpecFile, made: Made, tmp_path: Path) -> None:
    again = export_here(file, tmp_path / "again")
    assert again.model.path.read_bytes() == made.model.path.read_bytes()
    assert digest_tree(again.folder) == digest_tree(made.folder)


def test_the_child_tells_what_it_read_and_writes_nothing_there(
    file: SpecFile, made: Made, before: dict[str, str], example: str
) -> None:
    assert digest_tree(file.folder) == before
    read = {
        "iris": ["iris.joblib"],
        "transactions": ["model.py", "weights/transactions.safetensors"],
        "digits": ["model.py", "weights/digits.pt"],
        "onnx": ["old.onnx"],
        "passengers": ["passengers.joblib"],
        "spam": ["spam.joblib"],
        "boosted": ["boosted.ubj"],
        "lightgbm": ["trees.txt"],
        "catboost": ["trees.cbm"],
        "transformers": [
            "bert/1_Pooling/config.json",
            "bert/adapter_config.json",
            "bert/config.json",
            "bert/model.safetensors",
            "bert/model.safetensors.index.json",
            "bert/modules.json",
        ],
    }
    # What the spec names is in the request, and need not be seen: some formats are read natively.
    assert sorted({*made.trace.files, *list_named_files(file)}) == read[example]
    assert {"numpy", "onnx", "onnxruntime"} <= set(made.trace.distributions)


def _talk(message: Any) -> Iterator[str]:
    """The fields of a message, however deep, that hold words for people."""
    for field, value in message.ListFields():
        if field.name in ("doc_string", "metadata_props", "value_info"):
            yield field.full_name
        elif field.type == field.TYPE_MESSAGE:
            for item in [value] if hasattr(value, "ListFields") else value:
                yield from _talk(item)
