"""numpy's own tests of products, with the library that stands in for OpenBLAS."""

from pathlib import Path

import pytest
from spared_numpy import run_python, spared_numpy

__all__ = ["spared_numpy"]

MODULES = ("multiarray", "einsum", "numeric", "regression")
TOPICS = "dot or Dot or matmul or MatMul or Matmul or einsum or inner or Inner or cblas or CBLAS"
HUGE = "huge_vectordot"  # 2^30 elements of memory, which some machines do not have


@pytest.mark.e2e
def test_numpys_tests_of_products_pass(spared_numpy: Path) -> None:
    tests = spared_numpy / "numpy/_core/tests"
    if not tests.is_dir():
        pytest.skip("numpy was installed without its tests")
    arguments = ("-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "-p", "no:xdist")
    chosen = ("-k", f"({TOPICS}) and not {HUGE}")
    done = run_python(
        spared_numpy, *arguments, *chosen, *(str(tests / f"test_{name}.py") for name in MODULES), seconds=600
    )
    assert done.returncode == 0, done.stdout[-4000:]
    passed = int(done.stdout.rpartition("\n")[0].rpartition("\n")[2].partition(" passed")[0])
    assert passed > 350
