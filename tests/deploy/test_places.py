"""Only the texts that name an image change: all other bytes stay as they are."""

import pytest
import yaml
from deploying import DIGEST as NEW
from deploying import OTHER_DIGEST as OLD

from onnxpack.deploy.places import Place, apply_edits, find_edits
from onnxpack.oci.reference import ImageReference, parse_reference

IMAGE = parse_reference(f"registry.example.com/risk/iris:2.0.0-cpu@{NEW}")
HEX = NEW.partition(":")[2]


def choose(place: Place) -> ImageReference | None:
    return IMAGE if place.reference.name == IMAGE.name else None


def change(text: str) -> str:
    edits = find_edits(text, choose)
    return apply_edits(text, edits)


R = "registry.example.com/risk/iris"
CASES = {
    "a Pod's image by digest": (f"image: {R}@{OLD}\n", f"image: {R}@{NEW}\n"),
    "by tag": (f"image: {R}:1.0\n", f"image: {R}@{NEW}\n"),
    "by both": (f"image: {R}:1.0@{OLD}\n", f"image: {R}@{NEW}\n"),
    "by neither": (f"image: {R}\n", f"image: {R}@{NEW}\n"),
    "in double quotes": (f'image: "{R}:1"  # why\n', f'image: "{R}@{NEW}"  # why\n'),
    "in single quotes": (f"image: '{R}:1'\n", f"image: '{R}@{NEW}'\n"),
    "with an anchor": (f"image: &iris {R}:1\nother: *iris\n", f"image: &iris {R}@{NEW}\nother: *iris\n"),
    "with a tag of YAML": (f"image: !!str {R}:1\n", f"image: !!str {R}@{NEW}\n"),
    "in flow style": (f"{{containers: [{{image: {R}:1}}]}}\n", f"{{containers: [{{image: {R}@{NEW}}}]}}\n"),
    "with windows' line ends": (f"a: 1\r\nimage: {R}:1\r\nb: 2\r\n", f"a: 1\r\nimage: {R}@{NEW}\r\nb: 2\r\n"),
    "behind a mark of byte order": (f"\ufeffimage: {R}:1\n", f"\ufeffimage: {R}@{NEW}\n"),
    "without a last line end": (f"image: {R}:1", f"image: {R}@{NEW}"),
    "in the second document": (f"a: ü\n---\n# x\nimage: {R}:1\n...\n", f"a: ü\n---\n# x\nimage: {R}@{NEW}\n...\n"),
    "a kustomization's digest": (
        f"images:\n  - name: x\n    newName: {R}\n    digest: {OLD} # x\n",
        f"images:\n  - name: x\n    newName: {R}\n    digest: {NEW} # x\n",
    ),
    "its tag": (
        f"images:\n- name: {R}\n  newTag: '1.0' # x\n",
        f"images:\n- name: {R}\n  digest: '{NEW}' # x\n",
    ),
    "nothing yet": (
        f"images:\n- name: x\n  newName: {R}  # x\n",
        f"images:\n- name: x\n  digest: {NEW}\n  newName: {R}  # x\n",
    ),
    "nothing yet, first": (f"images:\r\n- name: {R}\r\n", f"images:\r\n- digest: {NEW}\r\n  name: {R}\r\n"),
    "nothing yet, in flow style": (f"images: [{{name: {R}}}]\n", f"images: [{{digest: {NEW}, name: {R}}}]\n"),
    "Argo CD's images": (f"images:\n- x={R}:1\n- {R}@{OLD}\n", f"images:\n- x={R}@{NEW}\n- {R}@{NEW}\n"),
    "a chart's digest": (
        f"image:\n  repository: {R}\n  digest: {OLD}\n  tag: '1'\n",
        f"image:\n  repository: {R}\n  digest: {NEW}\n  tag: '1'\n",
    ),
    "an empty digest": (f'image: {{repository: {R}, digest: ""}}\n', f"image: {{repository: {R}, digest: {NEW}}}\n"),
    "a missing digest": (f"image:\n  repository: {R}\n  digest:\n", f"image:\n  repository: {R}\n  digest: {NEW}\n"),
    "a chart's tag": (f"image:\n  repository: {R}\n  tag: 1.0\n", f"image:\n  repository: {R}\n  tag: 2.0.0-cpu\n"),
    "a registry of its own": (
        f"image: {{registry: registry.example.com, repository: risk/iris, digest: {OLD}}}\n",
        f"image: {{registry: registry.example.com, repository: risk/iris, digest: {NEW}}}\n",
    ),
    "a digest in the place of a tag": (
        f"image:\n  repository: {R}@sha256\n  tag: {OLD[7:]}\n",
        f"image:\n  repository: {R}@sha256\n  tag: {HEX}\n",
    ),
    "a chart without both": (
        f"image:\n    repository: {R}\n",
        f"image:\n    digest: {NEW}\n    repository: {R}\n",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_image_changes_and_nothing_else(case: str) -> None:
    before, after = CASES[case]
    assert change(before) == after
    assert change(after) == after, "once is enough"
    list(yaml.safe_load_all(after))


@pytest.mark.parametrize(
    "text",
    [
        f"image: registry.example.com/risk/iris2:1\nnote: {R}:1\n",
        f"image: [{R}:1]\nimages: {R}\nrepository: [{R}]\n",
        f"image: {R}:1:2\n# image: {R}:1\n",
        f"- {R}:1\n- 'image: {R}:1'\n",
        "images: [{newTag: 1}, 7, null, {name: [x]}]\nrepository:\n",
        f"text: |\n  image: {R}:1\n",
        "",
        "--- \n---\n",
    ],
)
def test_what_names_no_image_of_ours_stays(text: str) -> None:
    assert change(text) == text


def test_the_names_around_an_image_are_told() -> None:
    found: list[Place] = []

    def note(place: Place) -> None:
        found.append(place)

    text = (
        "metadata: {name: one, labels: {app.kubernetes.io/instance: two, other: no}}\n"
        f"spec:\n  containers:\n  - name: three\n    image: {R}:1\n"
        f"services:\n  four:\n    image: {R}\n"
    )
    find_edits(text, note)
    assert [place.line for place in found] == [5, 8]
    assert {"one", "two", "three"} <= found[0].names
    assert {"one", "two", "four"} <= found[1].names
    assert not {"no", "four"} & found[0].names
    assert found[0].reference.tag == "1"


def test_aliases_are_walked_once_however_many_there_are() -> None:
    lines = [f"a0: &a0 {{image: {R}:1}}"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 40)]
    assert change("\n".join(lines)).count(NEW) == 1


def test_deep_documents_are_told_or_left() -> None:
    assert change("[" * 60 + "]" * 60) == "[" * 60 + "]" * 60
    with pytest.raises((RecursionError, yaml.YAMLError)):
        change("[" * 5000)
