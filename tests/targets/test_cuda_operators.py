"""The table of operators names such as exist, each in one place."""

import onnx
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from onnxpack.targets.cuda.libraries import CUDNN_OPS, FOURIER_OPS, FUSED_OPS, LIBRARIES
from onnxpack.targets.cuda.operators import CPU_OPS, KNOWN_OPS, PLAIN_OPS

SCHEMAS = onnx.defs.get_all_schemas_with_history()
RUNTIME = {schema.name for schema in get_all_operator_schema() if schema.domain in ("", "com.microsoft")}
"""Microsoft's own operators, and some old ones that onnx itself has dropped."""


def test_every_operator_exists() -> None:
    named = KNOWN_OPS | FUSED_OPS.keys() | {name for library in LIBRARIES for name in library.users}
    assert sorted(named - {schema.name for schema in SCHEMAS} - RUNTIME) == []


def test_every_operator_is_in_one_table() -> None:
    assert len(KNOWN_OPS) == len(PLAIN_OPS) + len(CPU_OPS) + len(CUDNN_OPS) + len(FOURIER_OPS)
    assert {name for library in LIBRARIES for name in library.users} <= KNOWN_OPS


def test_functions_of_operators_that_run_on_the_cpu_are_not_known() -> None:
    functions = {one.name for one in SCHEMAS if one.has_function or one.has_context_dependent_function}
    assert sorted(CPU_OPS & functions) == [], "onnxruntime may run what they are made of on the GPU"


def test_no_operator_that_runs_on_the_cpu_alone_is_microsofts() -> None:
    assert sorted(CPU_OPS - {schema.name for schema in SCHEMAS}) == []
