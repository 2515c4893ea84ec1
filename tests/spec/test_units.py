import pytest

from onnxpack.spec.units import format_duration, format_size, read_duration, read_size


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (10, "10B"), (1500, "1500B"), (2**20, "1MiB"), (150 * 10**6, "150MB")]
)
def test_format_size_of_any_count_is_exact(count: int, text: str) -> None:
    assert format_size(count) == text
    assert read_size(text) == count


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (0.5, "0.5s"), (90, "90s"), (120, "2min"), (7200, "2h")])
def test_format_duration_of_any_length_has_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1e3s", "1.s", "5 days", "1Mb", "2 bytes"])
def test_read_of_text_without_a_known_unit_gives_none(text: str) -> None:
    assert read_duration(text) is None
    assert read_size(text) is None
