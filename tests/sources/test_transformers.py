import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exporting import export_here, export_in_child, write_spec
from transformer_folders import hf, save_model, save_sentence_modules

from onnxpack.bundle.sources import find_sources
from onnxpack.core.errors import SourceError, SpecError
from onnxpack.data.test_inputs import draw
from onnxpack.fleet.sources import list_sources
from onnxpack.sources import transformers as source
from onnxpack.sources.transformers.folder import Head, find_head, find_task, read_config, read_sentence_modules
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.model import Model
from onnxpack.spec.part import SpecPart, list_named_files
from onnxpack.timing.bench import measure_source_bytes
from onnxpack.worker.codec import digest_value

TOKENS = {"dtype": "int64", "shape": ["batch", "sequence"]}
INPUTS = {
    "input_ids": TOKENS | {"range": [4, 70]},
    "attention_mask": TOKENS | {"choices": [0, 1], "at_least_one": True},
}
AXES = {"batch": [1, 8], "sequence": [1, 24]}


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a model that gives a vector for each token."""
    return save_model("minilm", tmp_path_factory.mktemp("minilm") / "m")


@pytest.fixture
def folder(minilm: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may break."""
    return Path(shutil.copytree(minilm, tmp_path / "m"))


def spec(folder: Path, **model: Any) -> SpecFile:
    fields = {"framework": "transformers", "path": folder.name, "exporter": "torchscript"} | model
    return write_spec(folder.parent, fields, inputs=INPUTS, dynamic_axes=AXES, opset=17)


def change(folder: Path, **fields: Any) -> None:
    """Set fields of config.json; None removes one."""
    place = folder / "config.json"
    config = json.loads(place.read_text()) | fields
    place.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def answer(file: SpecFile, seed: int = 0) -> tuple[dict[str, np.ndarray[Any, Any]], list[np.ndarray[Any, Any]]]:
    inputs = draw(file.spec, {"batch": 3, "sequence": 7}, seed)
    return inputs, source.run(source.load(file), inputs)


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("BertForSequenceClassification", "text-classification"),
        ("RobertaForTokenClassification", "token-classification"),
        ("BertForQuestionAnswering", "question-answering"),
        ("ViTForImageClassification", "image-classification"),
        ("MPNetModel", "feature-extraction"),
        ("CLIPTextModelWithProjection", "feature-extraction"),
    ],
)
def test_a_class_tells_the_task(tmp_path: Path, architecture: str, task: str) -> None:
    assert find_task(tmp_path, {"architectures": [architecture]}) == task


@pytest.mark.parametrize("names", [["BertForMaskedLM"], [], None, "BertModel", [7]])
def test_a_class_of_no_known_task_is_told_with_the_cure(tmp_path: Path, names: Any) -> None:
    with pytest.raises(SourceError) as caught:
        find_task(tmp_path, {"architectures": names})
    assert "what it is for is not known here" in caught.value.problems[0].message
    assert "set `task` in `model` to one of text-classification" in str(caught.value.problems[0].hint)


@pytest.mark.parametrize(("name", "outputs"), [("roberta", 1), ("qa", 2)])
def test_a_folder_is_exported_with_names_and_axes(tmp_path: Path, name: str, outputs: int) -> None:
    made = export_here(spec(save_model(name, tmp_path / name)), tmp_path / "out")
    assert [row.reason for row in made.rows() if row.reason] == []
    assert [(one.name, one.shape[:2]) for one in made.model.outputs] == [
        (word, ("batch", "sequence")) for word in (["logits"] if outputs == 1 else ["start_logits", "end_logits"])
    ]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "own"])
@pytest.mark.parametrize("normalize", [False, True])
def test_one_vector_is_made_of_tokens_as_said(minilm: Path, pooling: str, normalize: bool) -> None:
    file = spec(minilm, task="feature-extraction", pooling=pooling, normalize=normalize)
    inputs, (vectors,) = answer(file)
    with torch.no_grad():
        whole = hf.AutoModel.from_pretrained(minilm)(**{name: torch.from_numpy(one) for name, one in inputs.items()})
    tokens, mask = whole.last_hidden_state.numpy(), inputs["attention_mask"].astype(bool)
    rows = {
        "mean": lambda row: tokens[row][mask[row]].mean(0),
        "cls": lambda row: tokens[row][0],
        "max": lambda row: tokens[row][mask[row]].max(0),
        "own": lambda row: whole.pooler_output[row].numpy(),
    }
    expected = np.stack([rows[pooling](row) for row in range(len(tokens))])
    if normalize:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)


def test_without_pooling_all_tokens_are_given(minilm: Path) -> None:
    _, (tokens,) = answer(spec(minilm))
    assert tokens.shape == (3, 7, 32)


@pytest.mark.parametrize(("mode", "normalize"), [("mean", True), ("cls", False), ("max", False)])
def test_what_sentence_transformers_saved_says_how_to_pool(folder: Path, mode: str, normalize: bool) -> None:
    save_sentence_modules(folder, mode=mode, normalize=normalize)
    change(folder, architectures=["BertForMaskedLM"])
    head = find_head(Model("transformers", path="m"), folder, read_config(folder))
    assert head == Head("feature-extraction", mode, normalize)  # type: ignore[arg-type]
    assert find_head(Model("transformers", path="m", pooling="none"), folder, {}).pooling == "none"


@pytest.mark.parametrize(
    ("architecture", "pooling"), [("CLIPTextModelWithProjection", "own"), ("CLIPTextModel", "none")]
)
def test_a_projection_is_a_models_own_vector(tmp_path: Path, architecture: str, pooling: str) -> None:
    head = find_head(Model("transformers", path="m"), tmp_path, {"architectures": [architecture]})
    assert head.pooling == pooling


@pytest.mark.parametrize(
    ("modules", "pooling", "words"),
    [
        ([{"type": "x.Dense", "path": "2_Dense"}], {}, "modules.json has 'Dense' at '2_Dense'"),
        ([{"type": "x.Transformer", "path": "0_Transformer"}], {}, "'Transformer' at '0_Transformer'"),
        (["odd"], {}, "modules.json has ''"),
        ([{"type": "x.Pooling", "path": "1_Pooling"}], {"pooling_mode_lasttoken": True}, "pools by pooling_mode_last"),
        ([{"type": "x.Pooling", "path": "1_Pooling"}], {"pooling_mode": ["mean", "max"]}, "pools by mean, max"),
        ([{"type": "x.Pooling", "path": "1_Pooling"}], [], "pools by nothing"),
    ],
)
def test_a_module_of_sentence_transformers_that_is_not_known_is_refused(
    folder: Path, modules: Any, pooling: Any, words: str
) -> None:
    save_sentence_modules(folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    with pytest.raises(SourceError, match=words):
        read_sentence_modules(folder)


def _remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda at: change(at, auto_map={"AutoModel": "code.Net"}), "no code of a folder is run"),
        (lambda at: change(at, quantization_config={"bits": 4}), "was saved quantized"),
        (lambda at: change(at, model_type=None), "names no `model_type`"),
        (lambda at: change(at, model_type="a-later-one"), "cannot load 'm'"),
        (lambda at: change(at, hidden_size=16), "cannot load 'm'"),
        (lambda at: (at / "config.json").write_text("{"), "'config.json' cannot be read"),
        (lambda at: (at / "config.json").write_text("[" * 100_000), "'config.json' cannot be read"),
        (lambda at: (at / "adapter_config.json").write_text("{}"), "holds an adapter"),
        (_remove_weights, "no model.safetensors, only pytorch_model.bin"),
        (lambda at: (at / "model.safetensors").write_bytes(b"torn"), "cannot load 'm'"),
    ],
)
def test_what_cannot_be_loaded_as_data_is_told(folder: Path, spoil: Callable[[Path], Any], words: str) -> None:
    file = spec(folder)
    spoil(folder)
    with pytest.raises(SourceError) as caught:
        source.load(file)
    assert words in str(caught.value)
    assert str(folder.parent) not in str(caught.value)


def test_what_else_lies_in_a_folder_is_not_even_looked_at(folder: Path) -> None:
    """Of a checkpoint of training transformers would read a pickle."""
    expected = answer(spec(folder))[1][0]
    for name in (".metadata", "__0_0.distcp", "__1_0.distcp", "pytorch_model.bin", "generation_config.json"):
        (folder / name).write_bytes(b"no pickle, no JSON")
    np.testing.assert_array_equal(answer(spec(folder))[1][0], expected)


def test_a_task_without_weights_is_refused_and_not_answered_at_random(minilm: Path) -> None:
    with pytest.raises(SourceError, match="the folder has no weights for 2 tensors of BertForSequenceClassification"):
        source.load(spec(minilm, task="text-classification"))


def test_inputs_are_the_models_own(minilm: Path) -> None:
    fields = {"framework": "transformers", "path": "m"}
    file = write_spec(minilm.parent, fields, inputs={"ids": INPUTS["input_ids"]}, dynamic_axes=AXES)
    with pytest.raises(SourceError, match="BertModel has no input 'ids'"):
        source.load(file)
    texts = {"input_ids": {"dtype": "string", "shape": ["batch"], "choices": ["a"]}}
    file = write_spec(minilm.parent, fields, inputs=texts, dynamic_axes={"batch": [1, 8]})
    with pytest.raises(SourceError, match="takes the ids of tokens, and no strings"):
        source.load(file)


def test_shards_are_read_and_count(minilm: Path, tmp_path: Path) -> None:
    sharded = tmp_path / "m"
    hf.AutoModel.from_pretrained(minilm).save_pretrained(sharded, max_shard_size="20KB")
    shards = sorted(path.name for path in sharded.glob("model-*.safetensors"))
    file = spec(sharded)
    assert len(shards) > 1
    assert {f"m/{name}" for name in (*shards, "config.json")} <= set(list_named_files(file))
    np.testing.assert_array_equal(answer(file)[1][0], answer(spec(minilm))[1][0])
    before = digest_value(SpecPart.of(file, "model"))
    (sharded / shards[-1]).write_bytes(b"another")
    assert digest_value(SpecPart.of(file, "model")) != before


def test_half_the_bits_are_loaded_as_float32(minilm: Path, tmp_path: Path) -> None:
    hf.AutoModel.from_pretrained(minilm).to(torch.bfloat16).save_pretrained(tmp_path / "m")
    model = source.load(spec(tmp_path / "m"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_what_says_how_to_pool_counts_once_it_is_there(folder: Path) -> None:
    part = SpecPart.of(spec(folder), "model")
    before = digest_value(part)
    save_sentence_modules(folder)
    assert digest_value(part) != before


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"path": "m/config.json"}, "'m/config.json' is not a folder"),
        ({"path": "empty"}, "'empty' has no config.json"),
        ({"path": "gone"}, "cannot read 'gone'"),
        ({"path": "hf://some/model"}, "one file is fetched, not a folder"),
        ({"path": "linked"}, "'linked' has 'model.safetensors', a link out of the project"),
        ({"path": "m", "sha256": "0" * 64}, "model.sha256 does not apply to transformers"),
        ({"path": "m", "task": "text-classification", "pooling": "mean"}, "pooling does not apply to text-class"),
        ({"path": "m", "pooling": "none", "normalize": True}, "normalize needs one vector"),
        ({"path": "m", "task": "text-generation"}, "unknown 'text-generation'"),
        ({}, "model.path is missing"),
    ],
)
def test_what_is_wrong_with_a_folder_is_told_at_once(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, model: dict[str, Any], words: str
) -> None:
    (folder.parent / "empty").mkdir()
    linked = folder.parent / "linked"
    linked.mkdir()
    shutil.copy(folder / "config.json", linked)
    outside = tmp_path_factory.mktemp("cache") / "blob"
    outside.write_bytes(b"")
    (linked / "model.safetensors").symlink_to(outside)
    with pytest.raises(SpecError) as caught:
        write_spec(folder.parent, {"framework": "transformers"} | model, inputs=INPUTS, dynamic_axes=AXES)
    assert words in str(caught.value)


def test_a_folder_may_hold_its_own_spec(folder: Path) -> None:
    file = write_spec(folder, {"framework": "transformers", "path": "."}, inputs=INPUTS, dynamic_axes=AXES)
    assert {"config.json", "model.safetensors"} <= set(list_named_files(load(file.path)))
    assert answer(file)[1][0].shape == (3, 7, 32)


def test_a_lock_a_far_builder_and_a_benchmark_know_the_files_that_are_there(folder: Path) -> None:
    (folder / "README.md").write_text("of no model")
    file = spec(folder)
    there = {"m/config.json", "m/model.safetensors"}
    assert set(find_sources(file).files) == there
    sent = {name for name, _ in list_sources(file, folder.parent / "dist")}
    assert sent == {"spec.yaml", *there}
    sizes = sum((folder.parent / name).stat().st_size for name in there)
    assert measure_source_bytes(file) == sizes


def test_a_childs_trace_holds_until_a_file_of_the_model_changes(folder: Path, tmp_path: Path) -> None:
    made = export_in_child(spec(folder), tmp_path / "child")
    assert {"m/config.json", "m/model.safetensors"} <= set(made.trace.files)
    assert made.trace.holds(folder.parent)
    (folder / "README.md").write_text("of no model")
    assert made.trace.holds(folder.parent)
    with (folder / "model.safetensors").open("ab") as stream:
        stream.write(b"x")
    assert not made.trace.holds(folder.parent)
