"""The products of the library that stands in for OpenBLAS, each called as numpy calls it, beside long double ones."""

import ctypes
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from spared_numpy import find_library

LETTERS = {"s": np.float32, "d": np.float64, "c": np.complex64, "z": np.complex128}
ROWS, COLUMNS = 101, 102
PLAIN, TRANSPOSED, CONJUGATED = 111, 112, 113
UPPER, LOWER = 121, 122
SIZES = ((1, 1, 1), (2, 3, 4), (4, 8, 5), (5, 9, 0), (7, 1, 130), (1, 17, 3), (70, 33, 129))
"""Sizes m, n and k about the ends of tiles (2 or 4 by 4 or 8) and of blocks (16 to 64 by 128)."""
STEPS = tuple(itertools.product((1, -1, 3, -2), repeat=2))
SCALARS = ((1, 0), (1, 1), (0, 0.5), (-0.5, 2), (0.75, 0))


@pytest.fixture(scope="module")
def library() -> ctypes.CDLL:
    return ctypes.CDLL(str(find_library()))


@pytest.fixture(params=LETTERS)
def letter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def call(library: ctypes.CDLL, name: str, *arguments: Any, result: Any = None) -> Any:
    """Call a CBLAS function: integers have 64 bits, arrays go by address, and so do complex scalars (as arrays)."""
    function = library[f"scipy_cblas_{name}64_"]
    function.restype = result
    kinds = {int: ctypes.c_int64, np.float32: ctypes.c_float, np.float64: ctypes.c_double}
    enums = 3 if "gemm" in name or "syrk" in name else 2 if "gemv" in name else 0
    given: list[Any] = [ctypes.c_int(one) for one in arguments[:enums]]
    for one in arguments[enums:]:
        given.append(ctypes.c_void_p(one.ctypes.data) if isinstance(one, np.ndarray) else kinds[type(one)](one))
    return function(*given)


def make_scalar(kind: Any, value: complex) -> Any:
    """Return a scalar as CBLAS takes it; a complex one gets an imaginary part where the value is not 0 or 1."""
    if not np.issubdtype(kind, np.complexfloating):
        return kind(value)
    return np.array([value if value in (0, 1) else value + 0.25j], kind)


def read_scalar(scalar: Any) -> Any:
    return np.clongdouble(scalar[0]) if isinstance(scalar, np.ndarray) else np.longdouble(scalar)


def make_numbers(kind: Any, *shape: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng((seed, *shape))
    numbers = random.uniform(-1, 1, shape)
    return (numbers + 1j * random.uniform(-1, 1, shape) if np.issubdtype(kind, np.complexfloating) else numbers).astype(
        kind
    )


def make_stored(kind: Any, order: int, rows: int, columns: int, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return a matrix, the memory that holds it in an order with gaps between its lines, and the distance of lines."""
    lines, length = (rows, columns) if order == ROWS else (columns, rows)
    memory = make_numbers(kind, max(lines, 1), length + 3, seed=seed)
    matrix = memory[:lines, :length]
    return (matrix if order == ROWS else matrix.T), memory, length + 3


def operate(matrix: np.ndarray, operation: int) -> np.ndarray:
    wide = matrix.astype(np.result_type(matrix.dtype, np.longdouble))
    return {PLAIN: wide, TRANSPOSED: wide.T, CONJUGATED: wide.conj().T}[operation]


def require_close(found: np.ndarray, expected: np.ndarray, terms: int) -> None:
    assert np.isfinite(found).all()
    limit = 8 * (terms + 4) * np.finfo(found.dtype).eps
    np.testing.assert_array_less(abs(found - expected), limit, strict=False)


def iterate_products() -> Iterator[tuple[int, int, int, tuple[int, int, int], tuple[float, float]]]:
    operations = (PLAIN, TRANSPOSED, CONJUGATED)
    yield from itertools.product((ROWS, COLUMNS), operations, operations, SIZES, SCALARS)


def test_gemm_of_every_order_transpose_size_and_factor_is_the_product(library: ctypes.CDLL, letter: str) -> None:
    kind = LETTERS[letter]
    for number, (order, of_a, of_b, (m, n, k), factors) in enumerate(iterate_products()):
        alpha, beta = (make_scalar(kind, factor) for factor in factors)
        a, a_memory, lda = make_stored(kind, order, *((m, k) if of_a == PLAIN else (k, m)), number)
        b, b_memory, ldb = make_stored(kind, order, *((k, n) if of_b == PLAIN else (n, k)), number + 1)
        c, memory, ldc = make_stored(kind, order, m, n, number + 2)
        expected = read_scalar(alpha) * (operate(a, of_a) @ operate(b, of_b)) + read_scalar(beta) * c
        around = memory.copy()
        if factors[0] == 0:  # what is not needed is not read
            a_memory[:] = b_memory[:] = np.nan
        if factors[1] == 0:
            c[:] = np.nan
        call(
            library, f"{letter}gemm", order, of_a, of_b, m, n, k, alpha, a_memory, lda, b_memory, ldb, beta, memory, ldc
        )
        require_close(c, expected, k)
        np.testing.assert_array_equal(memory[:, -3:], around[:, -3:])


def test_syrk_of_either_triangle_is_that_triangle_alone(library: ctypes.CDLL, letter: str) -> None:
    kind = LETTERS[letter]
    operations = (PLAIN, TRANSPOSED) if letter in "cz" else (PLAIN, TRANSPOSED, CONJUGATED)
    cases = itertools.product((ROWS, COLUMNS), (UPPER, LOWER), operations, (1, 3, 8, 70), (0, 2, 130), SCALARS)
    for number, (order, triangle, operation, n, k, factors) in enumerate(cases):
        alpha, beta = (make_scalar(kind, factor) for factor in factors)
        a, a_memory, lda = make_stored(kind, order, *((n, k) if operation == PLAIN else (k, n)), number)
        c, memory, ldc = make_stored(kind, order, n, n, number + 1)
        factor = operate(a, PLAIN if operation == PLAIN else TRANSPOSED)
        whole = read_scalar(alpha) * (factor @ factor.T) + read_scalar(beta) * c
        inside = np.triu(np.ones((n, n), bool)) if triangle == UPPER else np.tril(np.ones((n, n), bool))
        before = c.copy()
        if factors[1] == 0:
            c[inside] = np.nan
        call(library, f"{letter}syrk", order, triangle, operation, n, k, alpha, a_memory, lda, beta, memory, ldc)
        require_close(c[inside], whole[inside], k)
        np.testing.assert_array_equal(c[~inside], before[~inside])


def stretch(vector: np.ndarray, step: int) -> np.ndarray:
    """Return memory whose elements ``step`` apart are the vector, from the far end for a negative step; NaN between."""
    memory = np.full(max(1, (len(vector) - 1) * abs(step) + 1), np.nan, vector.dtype)
    memory[:: abs(step)][: len(vector)] = vector if step > 0 else vector[::-1]
    return memory


def gather(memory: np.ndarray, step: int) -> np.ndarray:
    return memory[:: abs(step)] if step > 0 else memory[:: abs(step)][::-1]


@pytest.mark.parametrize("steps", STEPS)
def test_gemv_walks_vectors_of_any_stride(library: ctypes.CDLL, letter: str, steps: tuple[int, int]) -> None:
    kind = LETTERS[letter]
    shapes = ((1, 1), (3, 5), (40, 17), (2, 130), (130, 2))
    cases = itertools.product((ROWS, COLUMNS), (PLAIN, TRANSPOSED, CONJUGATED), shapes, SCALARS)
    for number, (order, operation, (m, n), factors) in enumerate(cases):
        alpha, beta = (make_scalar(kind, factor) for factor in factors)
        a, a_memory, lda = make_stored(kind, order, m, n, number)
        matrix = operate(a, operation)
        x, y = (make_numbers(kind, size, seed=number) for size in (matrix.shape[1], matrix.shape[0]))
        expected = read_scalar(alpha) * (matrix @ x) + read_scalar(beta) * y
        x_memory = stretch(x if factors[0] else np.full_like(x, np.nan), steps[0])
        y_memory = stretch(y if factors[1] else np.full_like(y, np.nan), steps[1])
        before = y_memory.copy()
        call(
            library,
            f"{letter}gemv",
            order,
            operation,
            m,
            n,
            alpha,
            a_memory,
            lda,
            x_memory,
            steps[0],
            beta,
            y_memory,
            steps[1],
        )
        require_close(gather(y_memory, steps[1]), expected, matrix.shape[1])
        between = np.arange(len(before)) % abs(steps[1]) != 0
        np.testing.assert_array_equal(y_memory[between], before[between])


@pytest.mark.parametrize("steps", STEPS)
def test_vectors_of_any_stride_are_multiplied_added_and_copied(
    library: ctypes.CDLL, letter: str, steps: tuple[int, int]
) -> None:
    for size in (0, 1, 5, 31, 32, 100, 1000):
        require_vectors(library, letter, size, steps)


def require_vectors(library: ctypes.CDLL, letter: str, size: int, steps: tuple[int, int]) -> None:
    kind = LETTERS[letter]
    x, y = make_numbers(kind, size, seed=1), make_numbers(kind, size, seed=2)
    x_memory, y_memory = stretch(x, steps[0]), stretch(y, steps[1])
    wide = x.astype(np.result_type(kind, np.longdouble))
    vectors = (size, x_memory, steps[0], y_memory, steps[1])
    if letter in "cz":
        result = np.full(1, np.nan, kind)
        for name, expected in (("dotu_sub", (wide * y).sum()), ("dotc_sub", (wide.conj() * y).sum())):
            call(library, f"{letter}{name}", *vectors, result)
            require_close(result, np.array([expected]), size)
    else:
        found = call(library, f"{letter}dot", *vectors, result=ctypes.c_float if letter == "s" else ctypes.c_double)
        require_close(np.array([found], kind), np.array([(wide * y).sum()]), size)
    alpha = make_scalar(kind, -0.5)
    call(library, f"{letter}axpy", size, alpha, *vectors[1:])
    require_close(gather(y_memory, steps[1])[:size], read_scalar(alpha) * wide + y, 2)
    integers = [np.array([number]) for number in (size, *steps)]
    library[f"scipy_{letter}copy_64_"](
        *(ctypes.c_void_p(one.ctypes.data) for one in (integers[0], x_memory, integers[1], y_memory, integers[2]))
    )
    np.testing.assert_array_equal(gather(y_memory, steps[1])[:size], x)


def test_axpy_by_zero_reads_nothing(library: ctypes.CDLL, letter: str) -> None:
    kind = LETTERS[letter]
    x, y = np.full(5, np.nan, kind), make_numbers(kind, 5)
    before = y.copy()
    call(library, f"{letter}axpy", 5, make_scalar(kind, 0), x, 1, y, 1)
    np.testing.assert_array_equal(y, before)


@pytest.mark.parametrize(
    "change",
    [
        lambda given: given | {"order": 100},
        lambda given: given | {"of_a": 110},
        lambda given: given | {"of_b": 114},
        lambda given: given | {"m": -1},
        lambda given: given | {"k": -1},
        lambda given: given | {"lda": 3},
        lambda given: given | {"ldb": 2},
        lambda given: given | {"ldc": 2},
    ],
)
def test_gemm_of_arguments_that_cannot_be_meant_changes_nothing(
    library: ctypes.CDLL, letter: str, change: Callable[[dict[str, int]], dict[str, int]]
) -> None:
    kind = LETTERS[letter]
    meant = {"order": ROWS, "of_a": PLAIN, "of_b": PLAIN, "m": 2, "n": 3, "k": 4, "lda": 4, "ldb": 3, "ldc": 3}
    one, a, b = make_scalar(kind, 1), make_numbers(kind, 2, 4), make_numbers(kind, 4, 3)
    results = []
    for given in (meant, change(meant)):
        c = np.zeros((2, 3), kind)
        order, of_a, of_b, m, n, k, lda, ldb, ldc = given.values()
        call(library, f"{letter}gemm", order, of_a, of_b, m, n, k, one, a, lda, b, ldb, one, c, ldc)
        results.append(c)
    assert results[0].all()
    assert not results[1].any()


def test_infinities_times_one_stay_infinities(library: ctypes.CDLL, letter: str) -> None:
    kind = LETTERS[letter]
    a, b, c = np.ones((3, 3), kind), np.full((3, 3), np.inf, kind), np.zeros((3, 3), kind)
    one, zero = make_scalar(kind, 1), make_scalar(kind, 0)
    call(library, f"{letter}gemm", ROWS, PLAIN, PLAIN, 3, 3, 3, one, a, 3, b, 3, zero, c, 3)
    np.testing.assert_array_equal(c.real, np.full((3, 3), np.inf))
