"""Values of every kind, in the clients' environment: what is sent, and how it must come back."""

import numpy as np

ROWS = 3
VALUES = {
    "in_float32": ("FP32", np.array([[1.5, -2.25], [0, 3e38], [1e-38, 7]], np.float32)),
    "in_float16": ("FP16", np.array([[1.5, -2.25], [0, 65504], [6e-5, 7]], np.float16)),
    "in_int64": ("INT64", np.array([[1, -2], [0, 2**62], [-(2**63), 7]], np.int64)),
    "in_int8": ("INT8", np.array([[1, -2], [0, 127], [-128, 7]], np.int8)),
    "in_bool": ("BOOL", np.array([[True, False], [False, False], [True, True]])),
    "in_string": ("BYTES", np.array([["a", ""], ["ä ✓", '"\\\n'], ["x" * 1000, "0"]], object)),
    "size": ("FP32", np.array([[1.5], [2.5], [-1]], np.float32)),
    "kind": ("BYTES", np.array([["rose"], [""], ["ü"]], object)),
}


def as_text(array):
    """Return an array whose strings are text, not bytes."""
    if array.dtype.kind not in "OSU":
        return array
    return np.array([item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]).reshape(
        array.shape
    )


def require_same(name, array):
    """Expect what was sent as the input of a name."""
    expected = VALUES[name][1]
    found = as_text(np.asarray(array))
    np.testing.assert_array_equal(found, as_text(expected))
    assert found.shape == expected.shape, (name, found.shape)
    assert expected.dtype.kind == "O" or found.dtype == expected.dtype, (name, found.dtype)
