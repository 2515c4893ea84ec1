"""A table of named columns in a real image: records, csv and tensors get what scikit-learn says of the frame."""

import json
from collections.abc import Iterator
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from e2e_tools import SPECS, Box, Built, Client, Workshop, box

ROWS: list[dict[str, Any]] = [
    {"pclass": 1, "sex": "female", "age": 30, "fare": 80.5, "embarked": "C"},
    {"pclass": 3, "sex": "male", "age": None, "fare": 8, "embarked": "Oslo"},
    {"pclass": 2, "sex": "female", "age": 4.5, "fare": 21, "embarked": None},
    {"pclass": 2, "sex": "male", "age": 61, "fare": 300, "embarked": "S"},
]
CSV = """embarked,pclass,sex,age,fare
C,1,female,30,80.5
Oslo,3,male,,8
,2,female,4.5,21
S,2,male,61,300
"""
TENSORS = [
    ("pclass", "INT64", [1, 3, 2, 2]),
    ("sex", "BYTES", ["female", "male", "female", "male"]),
    ("age", "FP32", [30, "NaN", 4.5, 61]),
    ("fare", "FP32", [80.5, 8, 21, 300]),
    ("embarked", "BYTES", ["C", "Oslo", "", "S"]),
]
PREDICT = """
import runpy, sys
sys.argv[1:] = ["--input", f"/tmp/{sys.argv[1]}"]
runpy.run_module("inference", run_name="__main__")
"""
JSON, TEXT = {"Content-Type": "application/json"}, {"Content-Type": "text/csv"}
PATH = "/v2/models/passengers/infer"


@pytest.fixture(scope="module")
def passengers(workshop: Workshop, engine: Any) -> Built:
    return workshop.build(workshop.copy("passengers"), workshop.root / "dist")


@pytest.fixture(scope="module")
def server(passengers: Built, engine: Any) -> Iterator[Box]:
    host = {"port_bindings": {8080: ("127.0.0.1",)}}
    with box(engine, passengers.reference, host=host, ports=[8080]) as running:
        yield running.ready()


@pytest.fixture(scope="module")
def wanted() -> tuple[list[int], list[list[float]]]:
    """What the pipeline itself answers, with the spec's rules applied by pandas."""
    frame = pd.DataFrame(ROWS).fillna({"age": 28.8, "embarked": "elsewhere"})
    frame = frame.astype({"age": np.float32, "fare": np.float32})
    pipeline = joblib.load(SPECS / "passengers/passengers.joblib")
    return pipeline.predict(frame).tolist(), pipeline.predict_proba(frame).tolist()


def make_request(**changes: list[Any]) -> dict[str, Any]:
    inputs = [
        {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}
        for name, datatype, usual in TENSORS
        for data in [changes.get(name, usual)]
    ]
    return {"inputs": inputs}


def test_records_csv_and_tensors_get_scikit_learns_answers(server: Box, wanted: Any) -> None:
    labels, probabilities = wanted
    status, answer, _ = Client(server.find_port()).infer(make_request(), PATH)
    assert status == 200, answer
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    found = [(outputs["survived"], np.reshape(outputs["probabilities"], (-1, 2)))]
    for name, text in (("x.json", json.dumps(ROWS)), ("x.csv", CSV)):
        server.put("/tmp", {name: text.encode()})
        document = json.loads(server.python(PREDICT, name))
        found.append((document["survived"], np.array(document["probabilities"])))
    for headers, text in ((JSON, json.dumps(ROWS)), (TEXT, CSV)):
        status, rows, _ = Client(server.find_port()).ask("POST", "/predict", text.encode(), **headers)
        assert status == 200, rows
        shares = [row["probabilities"] for row in rows]
        found.append(([row["survived"] for row in rows], np.array(shares)))
    for survived, shares in found:
        assert survived == labels
        np.testing.assert_allclose(shares, probabilities, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(np.float32(shares), np.float32(found[0][1]))


def test_a_mistake_in_a_record_or_a_csv_is_told_with_its_row(server: Box) -> None:
    client = Client(server.find_port())
    rows = [{**ROWS[0], "age": "x"}, ROWS[1], {**ROWS[2], "sex": "?"}]
    status, answer, _ = client.ask("POST", "/predict", json.dumps(rows).encode(), **JSON)
    assert (status, answer["error"]) == (400, "row 1, column 'age': expected a number, got 'x'")
    status, answer, _ = client.ask("POST", "/predict", CSV.replace("1,female", "1,?").encode(), **TEXT)
    assert (status, answer["error"]) == (400, "row 1, column 'sex': '?' is none of 'female', 'male'")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sex": ["female", "x", "", "male"]},
            "row 2, column 'sex': 'x' is none of 'female', 'male'; row 3, column 'sex': a value is missing",
        ),
        ({"pclass": [1, 1, 1, 1.5]}, "input 'pclass': 'data' must hold whole numbers only"),
    ],
)  # fmt: skip
def test_what_a_column_may_not_have_is_the_clients_mistake(server: Box, changes: Any, message: str) -> None:
    status, answer, _ = Client(server.find_port()).infer(make_request(**changes), PATH)
    assert (status, answer["error"]) == (400, message)
