"""Which precision is chosen: pure rules on what was measured."""

from typing import Any

import pytest

from onnxpack.precision.candidates import Candidate, format_candidates, list_candidates, mark_best


def row(
    precision: str, speedup: float, size: int, sqnr: float | None = 30.0, reason: str = "", **more: Any
) -> Candidate:
    return Candidate(precision, reason, size_bytes=size, sqnr_db=sqnr, speedup=speedup, throughput_gain=speedup, **more)


BASE = row("float32", 1.0, 400, None)


def chosen(rows: list[Candidate], objective: Any = "latency") -> str:
    (best,) = [candidate.precision for candidate in mark_best(rows, objective) if candidate.chosen]
    return best


def test_the_fastest_that_passed_is_chosen() -> None:
    rows = [
        BASE,
        row("int8-dynamic", 1.5, 200),
        row("int8-static", 2.0, 200),
        row("int4-weights", 3.0, 50, reason="no"),
    ]
    assert chosen(rows) == "int8-static"


def test_the_smallest_is_chosen_where_size_is_the_objective() -> None:
    rows = [BASE, row("int8-static", 2.0, 200), row("int4-weights", 0.5, 50)]
    assert chosen(rows, "size") == "int4-weights"


def test_throughput_is_judged_by_the_largest_batch() -> None:
    slow, fast = (Candidate(name, size_bytes=1, sqnr_db=9.0, speedup=s, throughput_gain=t)
                  for name, s, t in (("int8-static", 3.0, 1.1), ("int8-dynamic", 1.2, 2.0)))  # fmt: skip
    assert chosen([BASE, slow, fast], "throughput") == "int8-dynamic"


def test_of_two_that_are_equally_fast_the_one_nearer_to_float32_is_chosen() -> None:
    near, far = row("int8-weights", 1.98, 300, 40.0), row("int8-static", 2.0, 200, 20.0)
    assert chosen([BASE, far, near]) == "int8-weights"
    assert chosen([row("float32", 1.0, 400, None), row("int8-static", 1.01, 200, 20.0)]) == "float32"


def test_float32_is_chosen_where_nothing_else_passed() -> None:
    assert chosen([BASE, row("int8-static", 9.0, 1, reason="wrong")]) == "float32"


def test_the_pareto_front_has_what_nothing_beats_in_both() -> None:
    rows = [
        BASE,
        row("int8-static", 2.0, 200),
        row("int8-dynamic", 1.5, 200),
        row("int4-weights", 0.8, 50),
        row("int8-weights", 5.0, 10, reason="wrong"),
    ]
    assert [candidate.precision for candidate in mark_best(rows, "latency") if candidate.pareto] == [
        "int8-static", "int4-weights",
    ]  # fmt: skip


def test_what_was_not_measured_is_neither_beaten_nor_chosen_for_its_speed() -> None:
    rows = [Candidate("float32", size_bytes=400), Candidate("float16", size_bytes=200, sqnr_db=60.0)]
    assert chosen(rows, "size") == "float16"
    assert chosen(rows, "latency") == "float32"


@pytest.mark.parametrize(("calibrated", "tried"), [(True, "int8-static"), (False, "int8-dynamic")])
def test_static_quantization_is_tried_where_there_is_data(calibrated: bool, tried: str) -> None:
    assert list_candidates("cpu", calibrated)[0] == tried
    assert "float16" not in list_candidates("cpu", calibrated)
    assert list_candidates("cuda", calibrated)[0] == "float16"


def test_the_table_says_what_was_chosen_and_why_others_were_not() -> None:
    rows = mark_best(
        [BASE, row("int8-static", 2.0, 200_000, excluded=("a", "b")), row("int4-weights", 0.4, 50, reason="off")],
        "latency",
    )
    text = format_candidates(rows)
    assert "int8-static - 2 layers" in text
    assert text.splitlines()[2].endswith("chosen")
    assert text.splitlines()[-1] == "int4-weights: off"
