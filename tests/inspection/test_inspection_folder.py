import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformer_folders import hf, make_tokenizer, save_model, save_sentence_modules

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.inspection.draft import Draft, write
from onnxpack.inspection.folder import draft_outputs, look_at_folder
from onnxpack.inspection.pictures import draft_picture_steps
from onnxpack.sources.transformers.folder import Head
from onnxpack.spec.load import load

FIXED = {"framework": "transformers", "path": "m"}


def draft(folder: Path, **model: Any) -> Draft:
    """What `init` drafts of the folder m in another one."""
    grown = Draft({"onnxpack": 1, "name": "m", "model": FIXED | model})
    found = look_at_folder(grown, folder / "spec.yaml")
    found.fields["targets"] = {"cpu": {"device": "cpu"}}
    return found


def change(place: Path, **fields: Any) -> None:
    place.write_text(json.dumps((json.loads(place.read_text()) if place.exists() else {}) | fields))


def test_a_classifier_of_texts_takes_strings_and_answers_words(tmp_path: Path) -> None:
    save_model("bert", tmp_path / "m")
    found = draft(tmp_path)
    write(found, tmp_path / "spec.yaml", force=False)
    spec = load(tmp_path / "spec.yaml").spec
    assert (tmp_path / "m.labels.txt").read_text() == "negative\nneutral\npositive\n"
    assert [(step.op, step.input, step.tokenizer) for step in spec.preprocess] == [
        ("tokenize", "text", "m/tokenizer.json")
    ]
    assert [(step.op, step.output, step.labels) for step in spec.postprocess] == [
        ("softmax", None, None), ("labels", "label", "m.labels.txt")
    ]  # fmt: skip
    assert list(spec.inputs) == ["input_ids", "attention_mask", "token_type_ids"]
    assert spec.dynamic_axes["sequence"].max == 40
    assert found.checks == 0


def test_positions_that_padding_takes_are_left_out_of_the_longest_text(tmp_path: Path) -> None:
    save_model("roberta", tmp_path / "m")
    found = draft(tmp_path)
    assert found.fields["dynamic_axes"]["sequence"] == {"min": 1, "opt": 32, "max": 40}  # of 42 positions
    assert list(found.fields["inputs"]) == ["input_ids", "attention_mask"]
    assert found.fields["postprocess"] == [
        {"op": "decode", "kind": "entities", "input": "scores", "labels": "m.labels.txt"}
    ]


def test_an_embedding_of_sentences_is_pooled_as_it_was_trained(tmp_path: Path) -> None:
    save_model("minilm", tmp_path / "m")
    save_sentence_modules(tmp_path / "m")
    found = draft(tmp_path)
    assert found.fields["model"] == FIXED | {"task": "feature-extraction", "pooling": "mean", "normalize": True}
    assert found.fields["outputs"] == ["embedding"]
    assert found.fields["dynamic_axes"]["sequence"]["max"] == 24  # its max_seq_length
    assert "postprocess" not in found.fields


def test_a_question_comes_with_its_context(tmp_path: Path) -> None:
    save_model("qa", tmp_path / "m")
    found = draft(tmp_path)
    (step,) = found.fields["preprocess"]
    assert (step["input"], step["pair"]) == ("question", "context")
    assert found.fields["outputs"] == ["start_logits", "end_logits"]
    assert found.fields["postprocess"] == [
        {"op": "decode", "kind": "answer", "input": "start_logits", "end": "end_logits"}
    ]


@pytest.mark.parametrize(
    ("changes", "outputs", "ops"),
    [
        ({"problem_type": "multi_label_classification"}, ["scores"], ["sigmoid"]),
        ({"problem_type": "regression"}, ["logits"], []),
        ({"id2label": None}, ["logits"], []),
        ({"id2label": {"0": "a", "2": "b"}}, ["logits"], []),
        ({"id2label": {"0": "a", "1": "b\nc", "2": "d"}}, ["scores"], ["softmax", "labels"]),
    ],
)
def test_outputs_are_drafted_by_what_the_classes_are(
    tmp_path: Path, changes: dict[str, Any], outputs: list[str], ops: list[str]
) -> None:
    grown = Draft({"name": "m"})
    draft_outputs(grown, {"id2label": {"0": "a", "1": "b", "2": "c"}} | changes, Head("text-classification"))
    assert grown.fields["outputs"] == outputs
    assert [step["op"] for step in grown.fields.get("postprocess", [])] == ops
    assert all(text.count("\n") == 3 for text in grown.files.values())


def test_of_many_classes_of_pictures_the_best_are_given() -> None:
    grown = Draft({"name": "m"})
    draft_outputs(grown, {"id2label": {str(n): f"class {n}" for n in range(1000)}}, Head("image-classification"))
    assert [step["op"] for step in grown.fields["postprocess"]] == ["softmax", "topk"]


def test_a_tokenizer_that_is_no_json_is_converted_into_one_beside_the_spec(tmp_path: Path) -> None:
    folder = save_model("bert", tmp_path / "m", tokenizer=False, vocab_size=80)  # it adds [MASK]
    pieces = make_tokenizer().get_vocab()
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(pieces, key=pieces.__getitem__)))
    found = draft(tmp_path)
    assert found.fields["preprocess"][0]["tokenizer"] == "m.tokenizer.json"
    write(found, tmp_path / "spec.yaml", force=False)
    made = Tokenizer.from_file(str(tmp_path / "m.tokenizer.json"))
    expected = hf.AutoTokenizer.from_pretrained(folder)
    for text in ("The film was good.", "zürich?", ""):
        assert made.encode(text).ids == expected(text)["input_ids"]


def test_without_a_tokenizer_a_client_sends_tokens(tmp_path: Path) -> None:
    save_model("bert", tmp_path / "m", tokenizer=False)
    found = draft(tmp_path)
    assert "preprocess" not in found.fields
    assert found.checks == 1


def test_a_file_that_stands_beside_is_not_overwritten(tmp_path: Path) -> None:
    grown = Draft({}, files={"m.labels.txt": "a\nb\n"})
    (tmp_path / "m.labels.txt").write_text("mine\n")
    with pytest.raises(SpecError, match="it exists already"):
        write(grown, tmp_path / "spec.yaml", force=False)
    assert (tmp_path / "m.labels.txt").read_text() == "mine\n"


def test_files_beside_go_again_where_the_spec_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        write(Draft({"name": "m"}, files={"m.labels.txt": "a\nb\n"}), tmp_path / "spec.yaml", force=False)
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_of_pictures_takes_files_of_any_size(tmp_path: Path) -> None:
    save_model("vit", tmp_path / "m")
    found = draft(tmp_path)
    write(found, tmp_path / "spec.yaml", force=False)
    spec = load(tmp_path / "spec.yaml").spec
    assert [step.op for step in spec.preprocess] == ["decode", "resize", "cast", "layout", "normalize"]
    assert spec.inputs["pixel_values"].shape == ("batch", 3, 32, 32)
    assert found.checks == 0


def test_a_picture_of_another_size_than_the_models_is_told(tmp_path: Path) -> None:
    save_model("vit", tmp_path / "m")
    change(tmp_path / "m/preprocessor_config.json", size={"height": 40, "width": 40})
    with pytest.raises(SourceError, match="the model fails on a picture of 40 x 40"):
        draft(tmp_path)


@pytest.mark.parametrize(
    ("settings", "size", "steps"),
    [
        ({"size": {"height": 32, "width": 24}}, (32, 24), [("resize", [32, 24], "linear", "pillow")]),
        ({"size": 20}, (20, 20), [("resize", [20, 20], "linear", "pillow")]),
        (
            {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 20}, "resample": 3,
             "do_center_crop": True, "crop_size": {"height": 16, "width": 16}},
            (16, 16), [("resize", [20], "cubic", "pillow"), ("crop", [16, 16], None, "transformers")],
        ),
        (
            {"image_processor_type": "CLIPFeatureExtractor", "size": 20, "do_center_crop": True, "crop_size": 16},
            (16, 16), [("resize", [20], "linear", "pillow"), ("crop", [16, 16], None, "transformers")],
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875},
            (224, 224), [("resize", [256], "linear", "pillow"), ("crop", [224, 224], None, "transformers")],
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}},
            (384, 384), [("resize", [384, 384], "linear", "pillow")],
        ),
        (
            {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 8, "width": 8}, "resample": 3},
            (8, 8), [("resize", [8, 8], "cubic", "torchvision")],
        ),
        (
            {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 8, "width": 8}, "resample": 0},
            (8, 8), [("resize", [8, 8], "nearest", "pillow")],
        ),
        ({"do_resize": False, "size": {"height": 8, "width": 8}}, (30, 30), []),
    ],
)  # fmt: skip
def test_resizing_is_that_of_the_settings(
    tmp_path: Path, settings: dict[str, Any], size: tuple[int, int], steps: list[Any]
) -> None:
    change(tmp_path / "preprocessor_config.json", **settings)
    found, drafted = draft_picture_steps(Draft({}), tmp_path, {"image_size": 30}, "x")
    assert found == size
    told = [step for step in drafted if step["op"] in ("resize", "crop")]
    assert [(step["op"], step["size"], step.get("method"), step.get("like")) for step in told] == steps
    assert {step["input"] for step in drafted} == {"x"}


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({}, {"op": "normalize", "scale": 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}),
        ({"image_mean": 0.5, "image_std": [0.5]}, {"op": "normalize", "scale": 255, "mean": [0.5], "std": [0.5]}),
        ({"do_rescale": False, "image_mean": [1], "image_std": [2]},
         {"op": "normalize", "scale": 1, "mean": [1.0], "std": [2.0]}),
        ({"rescale_factor": 1 / 127.5, "do_normalize": False}, {"op": "scale", "scale": 127.5}),
        ({"rescale_factor": 0.00392156862745098}, {"op": "normalize", "scale": 255, "mean": [0.485, 0.456, 0.406],
                                                   "std": [0.229, 0.224, 0.225]}),
    ],
)  # fmt: skip
def test_scaling_is_that_of_the_settings(tmp_path: Path, settings: dict[str, Any], last: dict[str, Any]) -> None:
    change(tmp_path / "preprocessor_config.json", size={"height": 8, "width": 8}, **settings)
    _, steps = draft_picture_steps(Draft({}), tmp_path, {}, "x")
    assert steps[-1] == last | {"input": "x"}


@pytest.mark.parametrize(
    ("name", "version", "like"),
    [
        ("ViTImageProcessor", "4.57.1", "pillow"),
        ("ViTImageProcessor", "5.0.0", "torchvision"),
        ("ViTImageProcessorPil", "5.0.0", "pillow"),
        ("ViTImageProcessorFast", "4.57.1", "torchvision"),
        ("ViTFeatureExtractor", "5.0.0.dev0", "pillow"),
        ("ViTImageProcessor", "odd", "pillow"),
    ],
)
def test_the_class_and_its_version_tell_the_library(tmp_path: Path, name: str, version: str, like: str) -> None:
    change(tmp_path / "preprocessor_config.json", image_processor_type=name, size={"height": 8, "width": 8})
    _, steps = draft_picture_steps(Draft({}), tmp_path, {"transformers_version": version}, "x")
    assert steps[1]["like"] == like


def test_settings_of_both_texts_and_pictures_are_found(tmp_path: Path) -> None:
    change(tmp_path / "processor_config.json", image_processor={"size": {"height": 8, "width": 8}})
    assert draft_picture_steps(Draft({}), tmp_path, {}, "x")[0] == (8, 8)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"size": {"shortest_edge": 20}}, "leave no fixed height and width"),
        ({"size": {"longest_edge": 20, "shortest_edge": 10}}, "which no step does"),
        ({"size": {"height": 8, "width": 8}, "resample": 5}, "Pillow's filter 5"),
        ({"size": {"height": 8, "width": 8}, "resample": "x"}, "Pillow's filter x"),
    ],
)
def test_what_no_step_does_is_told(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    change(tmp_path / "preprocessor_config.json", image_processor_type="ViTImageProcessor", **settings)
    with pytest.raises(SourceError, match=words):
        draft_picture_steps(Draft({}), tmp_path, {}, "x")


@pytest.mark.parametrize(
    ("settings", "config", "words"),
    [
        (None, {"image_size": 8}, "these steps are a guess"),
        ({"image_processor_type": "OwnImageProcessor", "size": 8}, {}, "does more than its settings say"),
    ],
)
def test_what_the_settings_do_not_tell_is_to_be_checked(
    tmp_path: Path, settings: dict[str, Any] | None, config: dict[str, Any], words: str
) -> None:
    if settings:
        change(tmp_path / "preprocessor_config.json", **settings)
    grown = Draft({})
    draft_picture_steps(grown, tmp_path, config, "x")
    (note,) = grown.notes[("preprocess",)]
    assert note.startswith("check")
    assert words in note
