"""Names and labels keep to what a cluster takes, whatever people chose."""

import re

import pytest

from onnxpack.deploy.names import LONGEST_NAME, make_label, make_name

LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("iris-cpu", "iris-cpu"),
        ("7-up-cpu", "m-7-up-cpu"),
        ("Iris_Model-CPU", "iris-model-cpu"),
        ("--", "m"),
        ("a" * LONGEST_NAME, "a" * LONGEST_NAME),
    ],
)
def test_a_name_is_what_services_may_be_called(text: str, name: str) -> None:
    assert make_name(text) == name
    assert re.fullmatch(r"[a-z]([a-z0-9-]*[a-z0-9])?", name)


def test_long_names_are_cut_and_stay_apart() -> None:
    first, second = make_name("long-" * 20 + "cpu"), make_name("long-" * 20 + "cuda")
    assert first != second
    assert {len(first) <= LONGEST_NAME, len(second) <= LONGEST_NAME} == {True}
    assert re.fullmatch(r"[a-z][a-z0-9-]*-[0-9a-f]{8}", first)


@pytest.mark.parametrize(
    ("text", "label"), [("1.0.0", "1.0.0"), ("2.1+gpu", "2.1_gpu"), ("…", ""), ("-a.", "a"), ("x" * 70, "x" * 63)]
)
def test_a_label_is_what_labels_may_hold(text: str, label: str) -> None:
    assert make_label(text) == label
    assert not label or LABEL.fullmatch(label)
