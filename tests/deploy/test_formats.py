"""Each format writes what is kept as golden, for a small model, one on a GPU and one with odd names."""

from collections.abc import Callable
from pathlib import Path

import pytest
from deploying import EXAMPLES, make_build

from onnxpack.deploy import list_formats
from onnxpack.deploy.files import sign
from onnxpack.deploy.formats import Wanted, load_format
from onnxpack.deploy.sizing import Goals, make_sizing

GOLDEN = Path(__file__).parents[1] / "golden/deploy"


@pytest.mark.parametrize("example", EXAMPLES)
@pytest.mark.parametrize("form", list_formats())
def test_manifests_are_golden(tmp_path: Path, example: str, form: str, expected: Callable[[Path, str], None]) -> None:
    build = make_build(tmp_path, **EXAMPLES[example])
    made = load_format(form).make(Wanted(build, make_sizing(build, Goals())))
    folder = GOLDEN / example / form
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.texts.items():
        expected(folder / name, sign(text))
    assert {path.name for path in folder.iterdir()} == set(made.texts)


def test_formats_are_the_modules_and_each_says_what_it_is_for() -> None:
    assert list_formats() == ("compose", "helm-values", "kserve", "kustomize", "triton")
    assert all(load_format(name).TITLE for name in list_formats())
    with pytest.raises(ValueError, match="nomad"):
        load_format("nomad")
