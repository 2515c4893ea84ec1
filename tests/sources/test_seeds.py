"""What tells random parameters from others, whatever the framework is."""

import ml_dtypes
import numpy as np
import pytest

from onnxpack.core.errors import SourceError
from onnxpack.sources.seeds import digest_values, require_same


def test_digests_tell_values_shapes_and_dtypes_apart() -> None:
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.ones(4), np.zeros(4, ml_dtypes.bfloat16)]
    assert len({digest_values(array) for array in arrays}) == len(arrays)
    assert digest_values(np.ones((3, 2)).T) == digest_values(np.ones((2, 3)))
    assert digest_values(np.zeros(0)) == digest_values(np.zeros(0))


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"a": "1", "b": "2"}, {"a": "1", "b": "3"}, "b differ"),
        ({"a": "1"}, {"a": "1", "c": "3"}, "c differ"),
        ({"a": None}, {"a": None}, "a differ"),
        ({str(n): "1" for n in range(7)}, {}, "0, 1, 2, 3, 4 and 2 more differ"),
    ],
)
def test_what_differs_is_named(one: dict[str, str | None], other: dict[str, str | None], words: str) -> None:
    with pytest.raises(SourceError, match=r"^m\.py:Net gives random parameters: ") as refused:
        require_same("m.py:Net", one, other)
    assert words in str(refused.value)


def test_require_same_of_equal_parameters_does_not_raise() -> None:
    same: dict[str, str | None] = {"a": "1", "b": "2"}
    require_same("m.py:Net", same, {"b": "2", "a": "1"})
    with pytest.raises(SourceError, match="b differ"):
        require_same("m.py:Net", same, {"b": "3", "a": "1"})
