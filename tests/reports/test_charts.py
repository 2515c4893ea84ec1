"""Charts are drawn inside their frame, with round marks, and labels that cover no other."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpack.reports import charts
from onnxpack.reports.charts import HEIGHT, WIDTH, Chart, choose_byte_unit, choose_time_unit, make_span, make_x, make_y

POSITIVE = st.floats(1e-9, 1e12)


@pytest.mark.parametrize(
    ("most", "marks"),
    [
        (4.2, ["0", "1", "2", "3", "4", "5"]),
        (81, ["0", "20", "40", "60", "80", "100"]),
        (0.0007, ["0", "0.0002", "0.0004", "0.0006", "0.0008"]),
        (1, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
    ],
)
def test_an_axis_from_zero_has_round_marks(most: float, marks: list[str]) -> None:
    assert [tick.text for tick in make_x([most / 2, most]).mark("{:.4g}".format)] == marks


def test_values_that_are_far_apart_are_drawn_on_a_logarithmic_axis() -> None:
    scale = make_y([0.5, 27], zero=False)
    assert scale.logarithmic
    assert [tick.text for tick in scale.mark("{:g}".format)] == ["1", "3", "10", "30"]
    assert scale.place(1) - scale.place(3) == pytest.approx(scale.place(3) - scale.place(9), abs=0.2)
    assert not make_y([0.5, 2], zero=False).logarithmic
    assert not make_y([0, 100], zero=False).logarithmic


@given(st.lists(POSITIVE, min_size=1, max_size=8), st.booleans())
def test_all_values_and_marks_are_in_the_frame(values: list[float], zero: bool) -> None:
    for scale in (make_x(values), make_y(values, zero=zero), make_span(sorted(values))):
        low, high = sorted((scale.start, scale.end))
        ticks = scale.mark("{:g}".format)
        assert len(ticks) <= 20
        assert all(low <= place <= high for place in [*map(scale.place, values), *(tick.at for tick in ticks)])


def test_a_unit_fits_the_greatest_value() -> None:
    assert [choose_time_unit([0.0, most])[0] for most in (0.0000005, 0.0009, 0.001, 0.9, 1, 300)] == [
        "µs",
        "µs",
        "ms",
        "ms",
        "s",
        "s",
    ]
    assert choose_time_unit([0.0123])[1](0.0123) == "12.3"
    assert [choose_byte_unit([most])[0] for most in (0, 999, 1000, 5e6, 7e9)] == ["B", "B", "kB", "MB", "GB"]
    assert choose_byte_unit([5e6])[1](2.5e6) == "2.5"


def test_values_without_a_size_are_spread_evenly() -> None:
    places = charts.spread_evenly(4)
    gaps = [after - before for before, after in pairwise(places)]
    assert gaps == pytest.approx([83.5] * 3, abs=0.2)
    assert Chart.left < places[0] < places[-1] < Chart.right


def test_steps_go_right_and_then_down() -> None:
    assert charts.draw_steps([(1, 9), (4, 6), (5, 2)], "front").path == "M1 9L4 9L4 6L5 6L5 2"


PLACES = st.tuples(st.floats(60, 380), st.floats(40, 210), st.sampled_from(["float32", "int8-dynamic"]), st.booleans())


@given(st.lists(PLACES, max_size=7))
def test_labels_stay_in_the_picture(points: list[Any]) -> None:
    labels = charts.place_labels(points)
    assert [label.text for label in labels] == [text for _, _, text, _ in points]
    for label in labels:
        width = len(label.text) * 6.4
        left = label.x if label.anchor == "start" else label.x - width
        assert left >= 52 - 9
        assert left + width <= WIDTH + 1
        assert 0 < label.y < HEIGHT


def test_labels_of_near_points_are_apart() -> None:
    labels = charts.place_labels(
        [(200, 120, "int8-dynamic", True), (206, 121, "int8-weights", False), (203, 130, "int4", False)]
    )
    boxes = []
    for label in labels:
        width = len(label.text) * 6.4
        left = label.x if label.anchor == "start" else label.x - width
        boxes.append((left, label.y - 11, left + width, label.y + 2))
    pairs = [(one, other) for index, one in enumerate(boxes) for other in boxes[:index]]
    assert not any(a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3] for a, b in pairs)


def test_a_chart_knows_its_frame() -> None:
    assert 0 < Chart.left < Chart.right < WIDTH
    assert 0 < Chart.top < Chart.bottom < HEIGHT
