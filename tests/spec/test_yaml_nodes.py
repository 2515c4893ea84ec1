"""Hostile and broken files (Y1, Y2): each is refused at its place, and none costs much memory."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from command_line import SMALL

from onnxpack.core.errors import Problem, SpecError
from onnxpack.spec import yaml_nodes
from onnxpack.spec.load import load
from onnxpack.spec.yaml_nodes import Items, Pairs, Scalar, parse

MEMORY = 512 << 20  # of address space, where 50 MB of YAML read naively take several GB
PATIENCE = 60  # seconds, far more than any of these takes

Problems = Callable[[str | bytes], list[Problem]]


def only(found: list[Problem]) -> str:
    assert len(found) == 1, found
    return str(found[0])


@pytest.mark.case("Y2")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param("", "spec.yaml: the file is empty", id="empty"),
        pytest.param("# a comment\n---\n", "must be a mapping|mapping at its top", id="comment"),
        pytest.param("- a\n", "spec.yaml:1:1: a spec must be a mapping at its top", id="list"),
        pytest.param("just words\n", "spec.yaml:1:1: a spec must be a mapping at its top", id="scalar"),
        pytest.param(f"{SMALL}---\n{SMALL}", "spec.yaml:10:1: a second YAML document starts here", id="two documents"),
        pytest.param(b"a: b\0c\n", "spec.yaml:1:5: there is a control character here, U+0000", id="NUL"),
        pytest.param("# é\né: \x07\n", "spec.yaml:2:4: there is a control character here, U+0007", id="bell, behind é"),
        pytest.param("a: \u2028b\n", "spec.yaml:1:4: there is a control character here, U+2028", id="line separator"),
        pytest.param("a: b\ufeff\n", "spec.yaml:1:5: there is a control character here, U+FEFF", id="byte order mark"),
        pytest.param(b"# caf\xc3\xa9\n\xc3\xa9: \xff\n", "spec.yaml:2:4: it is not UTF-8 text", id="not UTF-8"),
        pytest.param("a: b".encode("utf-16"), "spec.yaml:1:1: it is not UTF-8 text", id="UTF-16"),
        pytest.param("a: [b\n", "spec.yaml:2:1: not valid YAML", id="open bracket"),
        pytest.param("a: 'b\n", "spec.yaml:2:1: not valid YAML", id="open quote"),
        pytest.param("a:\n\tb: c\n", "(replace this tab: indent with spaces)", id="tab"),
        pytest.param("a: b: c\n", "spec.yaml:1:5: not valid YAML", id="two colons"),
        pytest.param('a: "\\q"\n', "not valid YAML", id="unknown escape"),
        pytest.param("%YAML 9.9\n---\na: b\n", "not valid YAML", id="version 9.9"),
        pytest.param("? [a]\n: b\n", "spec.yaml:1:3: a key must be a word", id="list as key"),
        pytest.param("a: &x b\n", "spec.yaml:1:4: anchors and aliases", id="anchor"),
        pytest.param("a: &x [*x]\n", "spec.yaml:1:4: anchors and aliases", id="recursive alias"),
        pytest.param("a: *x\n", "anchors and aliases", id="alias of nothing"),
        pytest.param("a: {<<: {b: c}}\n", "spec.yaml:1:5: merge keys", id="merge key"),
        pytest.param("a: !!python/object/apply:os.system [x]\n", "spec.yaml:1:4: tags", id="tag that runs"),
        pytest.param("a: !!int '3'\n", "spec.yaml:1:4: tags", id="harmless tag"),
        pytest.param("a: ! 12\n", "spec.yaml:1:4: tags", id="tag without a name"),
        pytest.param("[" * 10_000, "spec.yaml:1:51: nested more than 50 deep", id="10,000 deep"),
        pytest.param("{a: " * 10_000, "nested more than 50 deep", id="10,000 deep, mappings"),
        pytest.param("a: [" + "b, " * 30_000 + "]", "a spec has at most 20000 values", id="30,000 values"),
    ],
)
def test_a_broken_file_is_refused_at_its_place(text: str | bytes, told: str, problems: Problems) -> None:
    message = only(problems(text))
    assert any(part in message for part in told.split("|")), message


@pytest.mark.parametrize("loader", [yaml.SafeLoader, getattr(yaml, "CSafeLoader", yaml.SafeLoader)])
@pytest.mark.parametrize("text", ['"\\ud800"', '"\\U00110000"', "%YAML 1." + "1" * 5000 + "\n--- {}", "!<%01> a"])
def test_what_either_parser_makes_of_odd_escapes_is_a_spec_error(
    text: str, loader: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yaml_nodes, "_LOADER", loader)
    with pytest.raises(SpecError):
        parse(text, "spec.yaml")
    with pytest.raises(SpecError):
        parse(f"a: {text}", "spec.yaml")


BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
MERGES = "".join(f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
HOSTILE = {
    "aliases": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + BOMB,
    "merges": "a0: &a0 {x: y}\n" + MERGES,
    "deep": "[" * 900_000,
    "deep blocks": "- " * 400_000,
    "wide": "onnxpack: 1\na: [" + "b," * 500_000 + "]\n",
    "keys": "".join(f"k{n}: 1\n" for n in range(90_000)),
    "names": "".join(f"onnxpac{n}: 1\n" for n in range(9_000)),
    "axes": "inputs: {x: {dtype: bool, shape: [" + ", ".join(f"axis{n}" for n in range(9_000)) + "]}}\n"
    "dynamic_axes: {" + ", ".join(f"axes{n}: [1, 2]" for n in range(2_000)) + "}\n",
    "a number": f"opset: {'9' * 1_000_000}\n",
    "a word": f"name: {'a' * 1_000_000}\n",
    "a size": f"runtime: {{max_body: {'9' * 1_000_000}}}\n",
    "a key": f"? {'a' * 500_000}\n: 1\n",
    "an argument": f"model: {{framework: torch, kwargs: {{a: {'9' * 900_000}}}}}\n",
    "50 MB": SMALL + "# " + "x" * (50 << 20),
}


def refused_cheaply(path: Path) -> None:
    """A process of little memory says what is wrong, and ends."""
    ended = subprocess.run(
        [sys.executable, "-m", "onnxpack", "validate", str(path)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )
    assert ended.returncode == 2, ended.stderr[-2000:]
    assert str(path) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr) < 200_000


@pytest.mark.case("Y1")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_little(name: str, tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    path.write_text(HOSTILE[name])
    refused_cheaply(path)


@pytest.mark.case("Y1")
def test_file_larger_than_the_memory_costs_little(tmp_path: Path) -> None:
    path = tmp_path / "hostile.yaml"
    with path.open("wb") as stream:
        stream.truncate(4 * MEMORY)  # sparse: it takes no room
    refused_cheaply(path)


@pytest.mark.case("Y6")
def test_a_fifo_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spec.yaml")
    refused_cheaply(tmp_path / "spec.yaml")


def refusal(path: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load(path)
    return only(list(caught.value.problems))


def test_a_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    assert "it is not a regular file" in refusal(tmp_path)
    assert "it is not a regular file" in refusal(Path("/dev/null"))


def test_a_missing_file_and_a_loop_of_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    assert "cannot read it: No such file" in refusal(tmp_path / "spec.yaml")
    assert "cannot read it: Too many levels" in refusal(tmp_path / "loop.yaml")


def test_the_limit_of_bytes_is_exact(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_bytes(b"#" * yaml_nodes.MAX_BYTES)
    assert "the file is empty" in refusal(path)
    path.write_bytes(b"#" * (yaml_nodes.MAX_BYTES + 1))
    assert f"it has {yaml_nodes.MAX_BYTES + 1} bytes" in refusal(path)


def test_a_byte_order_mark_in_front_is_no_part_of_the_text(problems: Problems) -> None:
    assert problems(b"\xef\xbb\xbf" + SMALL.encode()) == []


def test_the_tree_keeps_places_quotes_and_duplicates() -> None:
    tree = parse("a: 'x'\na:\n  - y\n", "spec.yaml")
    (first, quoted), (second, listed) = tree.pairs
    assert (first.text, second.text) == ("a", "a")
    assert (second.where.line, second.where.column) == (2, 1)
    assert isinstance(quoted, Scalar)
    assert not quoted.plain
    assert isinstance(listed, Items)
    assert [item.text for item in listed.items if isinstance(item, Scalar)] == ["y"]


def test_nesting_up_to_the_limit_is_read() -> None:
    depth = yaml_nodes.MAX_DEPTH - 1
    assert isinstance(parse(f"a: {'[' * depth}{']' * depth}", "spec.yaml"), Pairs)
    with pytest.raises(SpecError):
        parse(f"a: {'[' * (depth + 1)}{']' * (depth + 1)}", "spec.yaml")
