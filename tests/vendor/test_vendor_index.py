"""The index of a bundle reads what it wrote, and nothing that could name a file elsewhere."""

import json
from typing import Any

import pytest

from onnxpack.core.errors import SpecError
from onnxpack.vendor.index import FORMAT, VendoredWheel, VendorIndex, read_index, write_index

WHEEL = VendoredWheel("numpy-2.4-py3-none-any.whl", "a" * 64, 3, ("iris",))
INDEX = VendorIndex(FORMAT, (WHEEL,))


def test_an_index_is_read_as_it_was_written() -> None:
    assert read_index(write_index(INDEX), "b.tar") == INDEX
    assert write_index(INDEX).endswith(b"}\n")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(
            ("name", name)
            for name in ("../a.whl", "/a.whl", "a/b.whl", ".whl", "a.tar", "a.whl\n", "-e.whl", "a b.whl", 1)
        ),
        *(("sha256", value) for value in ("A" * 64, "a" * 63, "a" * 64 + "\n", "../" + "a" * 61)),
        *(("size", value) for value in (-1, 1.5, 2**60, "3")),
        ("specs", "iris"),
    ],
)
def test_a_wheel_that_is_written_otherwise_is_refused(field: str, value: Any) -> None:
    document = json.loads(write_index(INDEX))
    document["wheels"][0][field] = value
    with pytest.raises(SpecError, match=r"'b\.tar': vendor\.json cannot be used: "):
        read_index(json.dumps(document).encode(), "b.tar")


def test_an_index_of_another_format_is_refused() -> None:
    document = json.loads(write_index(INDEX)) | {"onnxpack_vendor": 2}
    with pytest.raises(SpecError, match=r"the format of vendor\.json is 2, and 1 is read"):
        read_index(json.dumps(document).encode(), "b.tar")
