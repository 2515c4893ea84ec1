"""What of a Reference goes into an image."""

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpack.bundle.reference import pack_reference
from onnxpack.core.artifacts import Artifact
from onnxpack.core.values import Reference
from onnxpack.data.test_inputs import write_arrays
from onnxpack.parity.compare import Comparison, Tolerance, compare_cases

Save = Callable[..., Reference]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a Reference with cases of so many rows each."""

    def save(**rows: int) -> Reference:
        for case, count in rows.items():
            write_arrays(tmp_path / f"{case}.inputs.npz", {"a/b": np.full((count, 4), count, np.float32)})
            outputs: dict[str, Any] = {"label": np.full(count, count), "p": np.full((count, 2), count, np.float32)}
            write_arrays(tmp_path / f"{case}.outputs.npz", outputs)
        return Reference(Artifact(tmp_path, ""), tuple(rows))

    return save


def compare_with_itself(reference: Reference, **tolerance: Any) -> list[Comparison]:
    def read() -> Any:
        for case in reference.cases:
            with np.load(reference.folder / f"{case}.outputs.npz") as archive:
                yield case, dict(archive), dict(archive)

    return compare_cases(read(), Tolerance.of(**{"precision": "float32", **tolerance}))


def unpack(data: bytes) -> dict[str, Any]:
    with np.load(io.BytesIO(data)) as archive:
        return dict(archive)


def list_packed_cases(data: bytes) -> list[str]:
    return list(dict.fromkeys(name.partition("/")[0] for name in unpack(data)))


def test_a_case_is_packed_with_the_tolerances_that_it_passed(save: Save) -> None:
    reference = save(one=1)
    data = pack_reference(reference, compare_with_itself(reference, rtol=0.5))
    found = unpack(data)
    assert list(found) == ["one/inputs/a/b", "one/outputs/label", "one/outputs/p", "one/limits/p"]
    assert found["one/limits/p"].tolist() == pytest.approx([0.5, 1e-4, 0.0])
    assert found["one/inputs/a/b"].tolist() == [[1.0] * 4]
    assert pack_reference(reference, compare_with_itself(reference, rtol=0.5)) == data, "nothing depends on the time"


def test_where_the_noise_decides_its_limit_is_packed(save: Save) -> None:
    reference = save(one=1, two=2)
    rows = compare_with_itself(reference, precision="int8-dynamic")
    limit = next(row.atol for row in rows if row.output == "p")
    assert limit
    assert unpack(pack_reference(reference, rows))["one/limits/p"].tolist() == [0.0, 0.0, limit]


def test_the_smallest_cases_are_packed_and_no_more_than_three(save: Save) -> None:
    reference = save(big=100, c=3, a=1, d=4, b=2)
    assert list_packed_cases(pack_reference(reference, compare_with_itself(reference))) == ["a", "b", "c"]


def test_the_file_stays_below_its_limit(save: Save) -> None:
    reference = save(small=1, large=1000, larger=1400, vast=10_000)
    data = pack_reference(reference, compare_with_itself(reference))
    assert list_packed_cases(data) == ["small", "large"]
    assert len(data) <= 64 * 2**10
    assert pack_reference(save(vast=10_000), compare_with_itself(save(vast=10_000))) == b""


def test_samples_of_the_user_stay_out(save: Save) -> None:
    reference = save(samples=1, samples_first=1)
    assert pack_reference(reference, compare_with_itself(reference)) == b""


@pytest.mark.parametrize("excuse", [{"ties": 1}, {"first": "3 instead of 2"}])
def test_a_case_with_excused_labels_is_left_out(save: Save, excuse: dict[str, Any]) -> None:
    reference = save(one=1, two=2)
    rows = [
        replace(row, **excuse) if (row.case, row.output) == ("one", "label") else row
        for row in compare_with_itself(reference)
    ]
    assert list_packed_cases(pack_reference(reference, rows)) == ["two"]


def test_a_case_that_was_not_compared_is_left_out(save: Save) -> None:
    assert pack_reference(save(one=1), []) == b""


def test_clients_cases_are_there_as_clients_send_them(save: Save, tmp_path: Path) -> None:
    reference = save(client0=1, client1=1, plain=1)
    request = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}]}
    for case in ("client0", "client1"):
        (tmp_path / f"{case}.client.json").write_text(json.dumps(request))
    write_arrays(tmp_path / "client1.answers.npz", {"entities": np.array(["[]"])})
    found = unpack(pack_reference(reference, compare_with_itself(reference)))
    assert {name.partition("/")[0] for name in found} == {"client0"}, "of the module's own outputs no limits are known"
    assert found["client0/inputs/image"].tolist() == ["AAAA"]
    assert "client0/outputs/label" in found
