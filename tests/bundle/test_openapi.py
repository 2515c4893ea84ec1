"""The OpenAPI document of a server: valid, and true of what the server answers."""

import http.client
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bundle_examples import IRIS, MODULES, PICTURES, SENTENCE, STEPS, TEXTS, write_app
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from serving import Server, serving

from onnxpack.bundle.openapi import make_document, quote_path
from onnxpack.bundle.views import DATATYPES, ModuleView
from onnxpack.core.values import TensorInfo
from onnxpack.spec.columns import ClientColumn

SERVED = ["iris", "transactions", "odd"]
KINDS = {
    "pictures": ["image/png", "application/json"],
    "sentence": ["text/plain", "application/json", "text/csv"],
    "table": ["application/json", "text/csv"],
    "declared": ["application/json", "text/csv"],
}
FORMS = {name: ["multipart/form-data"] for name in KINDS}
for name in ("sentence", "table", "declared"):
    FORMS[name].append("application/x-www-form-urlencoded")
HOSTILE = "<script>{x}/%2e\"'é\\"


def name_all(view: ModuleView, text: str) -> ModuleView:
    inputs = tuple(replace(info, name=f"{text}{number}") for number, info in enumerate(view.inputs))
    outputs = tuple(replace(info, name=f"{text}{number}") for number, info in enumerate(view.outputs))
    return replace(view, name=text, version=text, description=text, inputs=inputs, outputs=outputs)


def list_views() -> list[ModuleView]:
    every = tuple(TensorInfo(f"x_{dtype}", dtype, ("batch", 2)) for dtype in DATATYPES)
    served = [*(MODULES[name] for name in SERVED), PICTURES, TEXTS, SENTENCE]
    return [*served, replace(IRIS, inputs=every, outputs=every), name_all(IRIS, HOSTILE), replace(IRIS, description="")]


@pytest.mark.parametrize("view", list_views(), ids=lambda view: view.name)
def test_the_document_is_valid(view: ModuleView) -> None:
    document = make_document(view)
    OpenAPIV31SpecValidator(document).validate()  # examples are left to the tests below
    operations = [operation for item in document["paths"].values() for operation in item.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for operation in operations:
        assert {"400", "408", "431", "503"} <= set(operation["responses"])


def ask(server: Server, method: str, path: str, body: bytes | None = None, kind: str = "") -> tuple[int, str, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)) as connection:
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        response = connection.getresponse()
        return response.status, (response.headers["content-type"] or "").partition(";")[0], response.read()


def check(document: dict[str, Any], operation: dict[str, Any], answer: tuple[int, str, bytes]) -> None:
    """Require that an answer is one that the document tells of."""
    status, media_type, body = answer
    response = operation["responses"][str(status)]
    if reference := response.get("$ref"):
        response = document["components"]["responses"][reference.rpartition("/")[2]]
    if "content" not in response:
        assert (media_type, body) == ("", b"")
        return
    schema = response["content"][media_type]["schema"]
    if media_type == "application/json":
        whole = {"$schema": Draft202012Validator.META_SCHEMA["$id"], "components": document["components"], **schema}
        Draft202012Validator(whole).validate(json.loads(body))


def replay(server: Server, document: dict[str, Any], path: str) -> list[tuple[str, Any]]:
    """Send each example of a path's bodies; return them with their media types."""
    operation = document["paths"][path]["post"]
    found = []
    for media_type, content in operation["requestBody"]["content"].items():
        examples = [example["value"] for example in content.get("examples", {}).values()]
        for example in [*examples, *([content["example"]] if "example" in content else [])]:
            schema = {"components": document["components"], **content["schema"]}
            Draft202012Validator(schema).validate(example)
            body = json.dumps(example) if media_type == "application/json" else example
            answer = ask(server, "POST", path, body.encode(), media_type)
            assert answer[0] == 200, answer
            check(document, operation, answer)
            found.append((media_type, example))
    return found


@pytest.mark.parametrize("model", SERVED)
def test_answers_are_as_the_document_says_and_its_examples_work(model: str, apps: dict[str, Path]) -> None:
    with serving(apps[model]) as server:
        document = json.loads(ask(server, "GET", "/openapi.json")[2])
        assert document == make_document(MODULES[model])
        for path, item in document["paths"].items():
            for method, operation in item.items():
                if "requestBody" not in operation:
                    answer = ask(server, method.upper(), path)
                    for content in operation["responses"].get("200", {}).get("content", {}).values():
                        assert "example" not in content or content["example"] == json.loads(answer[2])
                    assert answer[0] in (200, 204)
                    check(document, operation, answer)
                    continue
                examples = replay(server, document, path)
                assert examples
                if path == "/predict":
                    check(document, operation, ask(server, "POST", path, b"{}"))
                    check(document, operation, ask(server, "POST", path, b"{}", "font/ttf"))
                    continue
                ((_, example),) = examples
                for asked in ({"id": "x"}, {"parameters": {"binary_data_output": True}}, {"inputs": []}):
                    check(document, operation, ask(server, "POST", path, json.dumps({**example, **asked}).encode()))


@pytest.mark.parametrize("model", ["pictures", "sentence", "table", "declared"])
def test_examples_of_what_people_have_work(model: str, tmp_path: Path) -> None:
    view = replace(
        (MODULES | STEPS)[model], values={"city": ("Lima",), "joined": (19_000,)} if model == "declared" else {}
    )
    write_app(tmp_path, model, server="http", values=view.values)
    document = make_document(replace(view, server="http"))
    OpenAPIV31SpecValidator(document).validate()
    with serving(tmp_path) as server:
        found = dict(replay(server, document, "/predict"))
    assert list(found) == [kind for kind in KINDS[model] if kind != "image/png"]
    bodies = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert list(bodies) == [*KINDS[model], *FORMS[model]]
    assert model != "declared" or found["application/json"][0]["joined"] == "2022-01-08"


def test_the_schema_knows_good_requests_from_bad_ones() -> None:
    document = make_document(MODULES["transactions"])
    path = document["paths"]["/v2/models/transactions/infer"]["post"]
    example = path["requestBody"]["content"]["application/json"]["example"]
    schema = {"$ref": "#/components/schemas/InferRequest", "components": document["components"]}
    validator = Draft202012Validator(schema)
    assert validator.is_valid(example)

    def change(**fields: object) -> dict[str, Any]:
        first, *others = example["inputs"]
        return {"inputs": [{**first, **fields}, *others]}

    assert validator.is_valid(change(data=[[[1, "NaN", 0, 0, 0, 0]]]))
    for wrong in (
        {},
        {"inputs": example["inputs"][:1]},
        {**example, "id": 3},
        {**example, "outputs": [{"name": "x"}]},
        change(name="other"),
        change(datatype="FP64"),
        change(shape=[1, 1]),
        change(shape=[1, 1, 7]),
        change(shape=[65, 1, 6]),
        change(shape=[1, -1, 6]),
        change(data=["1"] * 6),
        change(data=[True] * 6),
        change(data=1),
    ):
        assert not validator.is_valid(wrong), wrong


def test_paths_are_told_as_a_client_sends_them() -> None:
    assert quote_path("/v2/models/a b{c}é%/infer") == "/v2/models/a%20b%7Bc%7D%C3%A9%25/infer"


def test_dates_of_sequences_are_numbers_in_examples_as_in_tensors() -> None:
    inputs = (TensorInfo("dates", "int64", ("batch", "seq")), TensorInfo("amounts", "float32", ("batch", "seq")))
    columns = (ClientColumn("dates", "date", unit="seconds"),)
    document = make_document(replace(MODULES["transactions"], inputs=inputs, columns=columns))
    record = document["components"]["schemas"]["Record"]["properties"]
    assert sorted(record) == ["amounts", "dates"]
    examples = document["paths"]["/predict"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert type(examples["one"]["value"]["dates"][0]) is int


def test_a_record_has_all_inputs_also_where_only_some_are_declared_columns() -> None:
    declared = replace(MODULES["declared"], server="http")
    some = replace(declared, columns=declared.columns[4:])
    record = make_document(some)["components"]["schemas"]["Record"]
    assert sorted(record["properties"]) == sorted(info.name for info in declared.inputs)
    assert record["required"] == ["age", "visits", "city", "note", "joined"]
