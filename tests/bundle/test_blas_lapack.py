"""numpy.linalg without OpenBLAS: what it answers is right, the rest raises LinAlgError, and the process lives on."""

import ctypes
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from spared_numpy import find_library, run_python, spared_numpy

__all__ = ["spared_numpy"]

PREPARE = """
import itertools, json, sys, warnings
import numpy as np
warnings.simplefilter("error")
def make(dtype, *shape):
    size = int(np.prod(shape))
    numbers = (np.arange(1, size + 1) * 37 % 101 / 50 - 1).reshape(shape)
    if np.dtype(dtype).kind == "c":
        numbers = numbers + 1j * ((np.arange(size) * 61 % 103) / 50 - 1).reshape(shape)
    return numbers.astype(dtype)
"""
REFUSED = """
calls = {
    "eig": np.linalg.eig, "eigvals": np.linalg.eigvals, "eigh": np.linalg.eigh, "eigvalsh": np.linalg.eigvalsh,
    "svd": np.linalg.svd, "svdvals": np.linalg.svdvals, "pinv": np.linalg.pinv, "cond": np.linalg.cond,
    "matrix_rank": np.linalg.matrix_rank, "upper": lambda a: np.linalg.eigh(a, "U"),
    "norm 2": lambda a: np.linalg.norm(a, 2, (-2, -1)), "nuclear": lambda a: np.linalg.norm(a, "nuc", (-2, -1)),
    "thin": lambda a: np.linalg.svd(a, full_matrices=False),
    **{f"qr {mode}": lambda a, mode=mode: np.linalg.qr(a, mode) for mode in ("reduced", "complete", "r", "raw")},
    "lstsq": lambda a: np.linalg.lstsq(a[(0,) * (a.ndim - 2)], np.ones(a.shape[-2], a.dtype)),
    "lstsq of several": lambda a: np.linalg.lstsq(a[(0,) * (a.ndim - 2)], np.ones((a.shape[-2], 3), a.dtype)),
}
told = {}
for (name, call), dtype, shape in itertools.product(calls.items(), "fdFD", [(1, 1), (4, 4), (40, 40), (2, 3, 3)]):
    try:
        told[f"{name} {dtype} {shape}"] = f"answered {call(make(dtype, *shape))}"
    except np.linalg.LinAlgError as error:
        told[f"{name} {dtype} {shape}"] = "refused"
print(json.dumps(told))
"""
ANSWERED = """
answers = []
for dtype, n in itertools.product("fdFD", [1, 2, 5, 40]):
    a = make(dtype, n, n) + np.eye(n, dtype=dtype) * 2
    hermitian = a @ a.conj().T + np.eye(n, dtype=dtype)
    small = a / 8
    answers += [
        np.linalg.det(small), *np.linalg.slogdet(a), np.linalg.inv(hermitian), np.linalg.solve(hermitian, a),
        np.linalg.solve(hermitian, a[0]), np.linalg.cholesky(hermitian), np.linalg.cholesky(hermitian, upper=True),
        np.linalg.norm(a), np.linalg.norm(a, 1), np.linalg.norm(a[0]), np.linalg.multi_dot([a, a, a[0]]),
        np.linalg.matrix_power(small, 5), np.linalg.matrix_power(hermitian, -1),
    ]
    several = make(dtype, 3, n, n) / 8 + np.eye(n, dtype=dtype)
    answers += [np.linalg.det(several), np.linalg.det(np.zeros((n, n), dtype))]
np.savez(sys.argv[1], *answers)
"""


def test_what_is_left_out_raises_linalgerror_in_a_process_that_lives(spared_numpy: Path) -> None:
    done = run_python(spared_numpy, "-c", PREPARE + REFUSED)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told) == 19 * 4 * 4
    assert {name: answer for name, answer in told.items() if answer != "refused"} == {}


def test_determinants_solutions_and_factors_are_those_of_openblas(spared_numpy: Path, tmp_path: Path) -> None:
    for name, folder in (("spared", spared_numpy), ("usual", tmp_path)):
        done = run_python(folder, "-c", PREPARE + ANSWERED, str(tmp_path / f"{name}.npz"))
        assert done.returncode == 0, done.stderr
    spared, usual = (np.load(tmp_path / f"{name}.npz") for name in ("spared", "usual"))
    with spared, usual:
        assert len(usual.files) == 4 * 4 * 16
        for name in usual.files:
            tolerance = 1e-3 if usual[name].dtype.char in "fF" else 1e-10
            assert usual[name].dtype == spared[name].dtype
            np.testing.assert_allclose(
                spared[name], usual[name], tolerance, tolerance * abs(usual[name]).max(initial=0)
            )


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        ("np.linalg.solve(np.zeros((2, 2)), np.ones(2))", "LinAlgError: Singular matrix"),
        ("np.linalg.inv(np.ones((2, 3, 3)))", "LinAlgError: Singular matrix"),
        ("np.linalg.cholesky(-np.eye(3))", "LinAlgError: Matrix is not positive definite"),
        ("np.linalg.det(np.empty((0, 0)))", "1.0"),
        ("np.linalg.det(np.zeros((2, 2)))", "0.0"),
        ("np.linalg.det([[0.0, 1.0], [1.0, 0.0]])", "-1.0"),
        ("np.linalg.det(np.full((2, 2), np.nan))", "nan"),
        ("np.linalg.inv(np.empty((0, 0))).shape", "(0, 0)"),
        ("np.dot(np.empty((2, 0)), np.empty((0, 3))).tolist()", "[[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]"),
    ],
)
def test_numbers_without_an_answer_are_told_as_by_openblas(spared_numpy: Path, call: str, answer: str) -> None:
    assert [ask(folder, call) for folder in (spared_numpy, spared_numpy.parent)] == [answer, answer]


def test_a_matrix_with_nan_is_not_positive_definite(spared_numpy: Path) -> None:
    # As in LAPACK; OpenBLAS answers with NaN.
    assert ask(spared_numpy, "np.linalg.cholesky(np.full((2, 2), np.nan))").startswith("LinAlgError: Matrix is not")


def ask(folder: Path, call: str) -> str:
    done = run_python(folder, "-W", "ignore", "-c", f"import numpy as np; print({call})")
    return (done.stdout or done.stderr.rpartition("numpy.linalg.")[2]).strip()


def test_products_raise_no_flags_of_their_own(spared_numpy: Path) -> None:
    # The tiles of a product have room for more rows and columns than the matrices: what is there must not count.
    code = """
for dtype, (m, k, n) in itertools.product("fdFD", itertools.product((1, 2, 3, 5, 9), repeat=3)):
    a, b = np.ones((m, k), dtype), np.full((k, n), np.inf, dtype)
    with np.errstate(all="raise"):
        if np.dtype(dtype).kind == "f":
            assert np.isposinf(a @ b).all() and np.isposinf(b.T @ a.T).all() and np.isposinf(a @ b[:, 0]).all()
        assert (np.zeros((m, k), dtype) @ np.ones((k, n), dtype) == 0).all()
print("done")
"""
    done = run_python(spared_numpy, "-c", PREPARE + code)
    assert done.stdout == "done\n", done.stderr


@dataclass(frozen=True)
class Asked:
    """A function that is left out: how many arguments it takes, and which of them are rooms and the sizes of rooms."""

    count: int
    size: int
    rooms: tuple[int, ...]


LEFT_OUT = {
    **dict.fromkeys(("sgeev", "dgeev"), Asked(14, 12, (11,))),
    "zgeev": Asked(14, 11, (10,)),
    **dict.fromkeys(("ssyevd", "dsyevd"), Asked(11, 7, (6, 8))),
    **dict.fromkeys(("cheevd", "zheevd"), Asked(13, 7, (6, 8, 10))),
    **dict.fromkeys(("sgelsd", "dgelsd"), Asked(14, 11, (10, 12))),
    **dict.fromkeys(("cgelsd", "zgelsd"), Asked(15, 11, (10, 12, 13))),
    **dict.fromkeys(("sgesdd", "dgesdd"), Asked(14, 11, (10,))),
    **dict.fromkeys(("cgesdd", "zgesdd"), Asked(15, 11, (10,))),
    **dict.fromkeys(("dgeqrf", "zgeqrf"), Asked(8, 6, (5,))),
    **dict.fromkeys(("dorgqr", "zungqr"), Asked(9, 7, (6,))),
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_question_for_room_is_answered_whole_and_the_work_refused(name: str) -> None:
    asked, function = LEFT_OUT[name], ctypes.CDLL(str(find_library()))[f"scipy_{name}_64_"]
    arguments = np.full((asked.count, 2), 99, np.int64)
    for size, info in ((-1, 0), (1, 1)):
        arguments[:] = 99
        arguments[asked.size, 0] = size
        before = arguments.copy()
        function(*(ctypes.c_void_p(one.ctypes.data) for one in arguments))
        changed = set(np.flatnonzero((arguments != before).any(1)).tolist())
        assert arguments[-1, 0] == info
        assert changed - {asked.count - 1} == (set(asked.rooms) if size == -1 else set())
        for room in asked.rooms if size == -1 else ():
            # A number is as wide as its kind; 99 as a float of either width is no 1.
            assert 1 in (arguments[room, 0], arguments[room].view(np.float64)[0], arguments[room].view(np.float32)[0])
