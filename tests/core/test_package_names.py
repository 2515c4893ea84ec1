"""One form for all spellings of a distribution's name."""

import pytest

from onnxpack.core.package_names import normalize_name, parse_pin_name


@pytest.mark.parametrize("name", ["scikit-learn", "Scikit_Learn", "scikit.learn", "scikit-_.learn"])
def test_all_spellings_are_one_name(name: str) -> None:
    assert normalize_name(name) == "scikit-learn"


@pytest.mark.parametrize("pin", ["Open_CLIP.torch==2.0", "open-clip-torch[training, b]==2.0+cpu"])
def test_a_pin_is_of_one_distribution(pin: str) -> None:
    assert parse_pin_name(pin) == "open-clip-torch"
