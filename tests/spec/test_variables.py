import pytest

from onnxpack.core.errors import SpecError
from onnxpack.spec.variables import read_size_variable


@pytest.mark.parametrize(("text", "size"), [(None, 7), ("", 7), ("1kB", 1000), ("2MiB", 2 * 2**20)])
def test_a_size_is_read_or_the_default_holds(monkeypatch: pytest.MonkeyPatch, text: str | None, size: int) -> None:
    monkeypatch.delenv("ROOM", raising=False)
    if text is not None:
        monkeypatch.setenv("ROOM", text)
    assert read_size_variable("ROOM", 7, "50GB") == size


def test_what_is_no_size_is_refused_with_an_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOM", "much")
    with pytest.raises(SpecError, match="ROOM must be a size, not 'much'") as raised:
        read_size_variable("ROOM", 7, "50GB")
    assert raised.value.problems[0].hint == "use a number with a unit, such as 50GB"
