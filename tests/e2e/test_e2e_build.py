"""What a build leaves: the image's name on stdout, the report, the model, the context and the image itself."""

import re
import tarfile
from typing import Any

import onnx
from e2e_tools import LABEL, STAGES, Built, Workshop, box, without_leftovers

OPSETS = {"iris": 17, "digits": 17, "transactions": 13}
INPUTS = {
    "iris": {"float_input": ["batch", 4]},
    "digits": {"image": ["batch", 1, 8, 8]},
    "transactions": {"dates": ["batch", "seq"], "input_ids": ["batch", "seq", 20], "amounts": ["batch", "seq"]},
}
OUTPUTS = {
    "iris": {"label": ["batch"], "probabilities": ["batch", 3]},
    "digits": {"log_probabilities": ["batch", 10]},
    "transactions": {"score": ["batch"]},
}
INSTRUCTIONS = {
    "FROM", "COPY", "ENV", "USER", "WORKDIR", "EXPOSE", "LABEL", "HEALTHCHECK", "ENTRYPOINT", "CMD",
}  # fmt: skip


def list_stages(example: Built) -> list[str]:
    """Return the stages of an example; that of transactions has steps around its model."""
    if example.report["name"] != "transactions":
        return STAGES
    place = STAGES.index("verify") + 1
    return [*STAGES[:place], "steps", "verify", *STAGES[place:]]


def test_stdout_has_the_image_reference_alone(example: Built, workshop: Workshop, engine: Any) -> None:
    name, version = example.report["name"], example.report["version"]
    assert example.result.out == f"{workshop.repository(f'specs/{name}')}:{version}-cpu\n"
    assert engine.inspect_image(example.reference)["Id"] == example.report["image"]["id"]
    for stage in list_stages(example):
        what = "( export| model with its steps| packages| modules)?"
        ended = rf"^cpu: {stage}{what} +(\d+\.\d s|unchanged|runtime layer reused)$"
        assert re.search(ended, example.result.err, re.MULTILINE), stage


def test_the_report_is_complete(example: Built, engine: Any) -> None:
    report = example.report
    assert set(report) >= {
        "name", "version", "target", "status", "stages", "model", "parity", "image", "smoke",
    }  # fmt: skip
    assert (report["target"], report["status"]) == ("cpu", "passed")
    assert [name for name, _ in example.stages] == list_stages(example)
    for stage in report["stages"]:
        assert set(stage) - {"why"} == {"name", "seconds", "cached", "key", "of"}
        assert stage["seconds"] >= 0
        assert re.fullmatch("[0-9a-f]{64}", stage["key"])


def test_the_report_says_how_far_the_model_agrees(example: Built) -> None:
    parity = example.report["parity"]
    assert parity["passed"] is True
    # at least four sizes of the dynamic axes, every output of each
    assert parity["comparisons"] >= 4 * len(OUTPUTS[example.report["name"]])
    assert 0 <= parity["max_abs_diff"] < 1e-4
    assert 0 <= parity["max_rel_diff"] < 1e-3


def test_the_report_has_the_smoke_test_s_figures(example: Built) -> None:
    smoke = example.report["smoke"]
    # every ordinary case by the command line, and one more by HTTP
    assert smoke["comparisons"] > 4 * len(OUTPUTS[example.report["name"]])
    assert smoke["ready_seconds"] > 0
    assert smoke["first_answer_seconds"] > 0
    assert smoke["peak_rss_bytes"] > 10_000_000
    assert re.fullmatch(r"(docker|podman) [0-9]+\.[0-9.]+.*", smoke["runtime"])


def test_the_report_describes_the_image_that_the_engine_has(example: Built, engine: Any) -> None:
    image = example.report["image"]
    facts = engine.inspect_image(example.reference)
    assert (image["reference"], image["id"], image["size_bytes"]) == (example.reference, facts["Id"], facts["Size"])
    assert image["digest"] is None  # a registry gives it, and nothing was pushed
    assert example.layers == facts["RootFS"]["Layers"]
    assert sum(layer["size_bytes"] for layer in image["layers"]) == facts["Size"]
    assert set(image["references"]) == set(facts["RepoTags"])


def test_the_model_is_what_the_spec_asks_for(example: Built) -> None:
    name, said = example.report["name"], example.report["model"]
    model = onnx.load(example.output / "model.onnx")
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    assert opsets[""] == said["opset"] == OPSETS[name]
    assert {tensor.name: _shape(tensor) for tensor in model.graph.input} == INPUTS[name]
    assert {tensor.name: _shape(tensor) for tensor in model.graph.output} == OUTPUTS[name]
    assert {tensor["name"]: tensor["shape"] for tensor in said["inputs"]} == INPUTS[name]
    assert {tensor["name"]: tensor["shape"] for tensor in said["outputs"]} == OUTPUTS[name]
    assert said["size_bytes"] == (example.output / "model.onnx").stat().st_size
    assert said["precision"] == "float32"


def _shape(tensor: onnx.ValueInfoProto) -> list[int | str]:
    return [size.dim_param or size.dim_value for size in tensor.type.tensor_type.shape.dim]


def test_an_image_is_its_base_and_two_layers(example: Built, engine: Any) -> None:
    base = re.search("^FROM (.+)$", (example.context / "Dockerfile").read_text(), re.MULTILINE)
    assert base
    below = engine.inspect_image(base[1])["RootFS"]["Layers"]
    assert example.layers[: len(below)] == below
    assert len(example.layers) == len(below) + 2


def test_all_images_of_a_target_share_the_runtime_layer(iris: Built, digits: Built, transactions: Built) -> None:
    assert iris.layers[-2] == digits.layers[-2] == transactions.layers[-2]
    assert len({iris.layers[-1], digits.layers[-1], transactions.layers[-1]}) == 3


def test_the_image_says_what_it_is_and_runs_as_nobody(example: Built, workshop: Workshop, engine: Any) -> None:
    config = engine.inspect_image(example.reference)["Config"]
    assert config["User"].split(":")[0] == "65532"
    labels = config["Labels"]
    assert labels["org.opencontainers.image.title"] == example.report["name"]
    assert labels["org.opencontainers.image.version"] == example.report["version"]
    assert labels["org.opencontainers.image.description"]
    assert labels["dev.onnxpack.target"] == "cpu"
    assert labels["dev.onnxpack.opset"] == str(example.report["model"]["opset"])
    assert labels["dev.onnxpack.model.sha256"] == example.report["model"]["sha256"]
    assert labels[LABEL] == workshop.token
    assert "8080/tcp" in config["ExposedPorts"]


def test_the_dockerfile_only_copies(example: Built) -> None:
    text = (example.context / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    words = [line.split()[0] for line in lines]
    assert set(words) <= INSTRUCTIONS
    assert words.count("COPY") == 2
    assert {path.name for path in example.context.iterdir()} == {"Dockerfile", "rootfs"}


def test_the_context_builds_the_same_layers_by_hand(iris: Built, workshop: Workshop, engine: Any) -> None:
    tag = f"{workshop.repository('by-hand')}:1"
    events = list(engine.build(path=str(iris.context), tag=tag, nocache=True, rm=True, forcerm=True, decode=True))
    assert not [event for event in events if "error" in event]
    assert engine.inspect_image(tag)["RootFS"]["Layers"] == iris.layers


def test_no_training_framework_is_in_the_image(example: Built, engine: Any) -> None:
    with box(engine, example.reference, start=False) as made:
        names = _files(engine, made.id)
    assert {"opt/onnxpack/app/model.onnx", "opt/onnxpack/app/inference.py"} <= names
    modules = {name.split("/")[3] for name in names if name.startswith("opt/onnxpack/lib/")}
    assert {"httptools", "numpy", "onnxruntime", "orjson"} <= modules
    parts = {part for name in names for part in name.split("/")}
    unwanted = {"torch", "sklearn", "scipy", "joblib", "skl2onnx", "onnxscript", "onnx", "pip", "setuptools", "uv"}
    assert not unwanted & modules
    assert not {"torch", "sklearn", "scipy", "skl2onnx", "onnxscript"} & parts
    assert not [name for name in names if name.endswith((".joblib", ".pt", ".safetensors", ".pkl"))]


class _Stream:
    """The pieces of a download as the file that tarfile reads."""

    def __init__(self, pieces: Any) -> None:
        self._pieces, self._rest = iter(pieces), b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _files(engine: Any, container: str) -> set[str]:
    """Every file of a container's root."""
    with tarfile.open(fileobj=_Stream(engine.export(container)), mode="r|") as archive:
        return {member.name.removeprefix("./") for member in archive}


def test_nothing_but_the_images_is_left(iris: Built, workshop: Workshop, engine: Any) -> None:
    assert set(iris.report["image"]["references"]) <= without_leftovers(engine, workshop.token)
    assert not [path for path in (workshop.root / "dist").rglob(".*") if path.name != ".env"]
