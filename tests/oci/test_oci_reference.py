"""References are read as Docker reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpack.core.errors import SpecError
from onnxpack.oci.reference import parse_reference

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("iris", "docker.io/library/iris:latest"),
        ("team/iris:1.0", "docker.io/team/iris:1.0"),
        ("docker.io/iris", "docker.io/library/iris:latest"),
        ("index.docker.io/team/iris", "docker.io/team/iris:latest"),
        ("localhost/iris", "localhost/iris:latest"),
        ("localhost:5000/iris:a", "localhost:5000/iris:a"),
        ("[::1]:5000/iris:a", "[::1]:5000/iris:a"),
        ("gcr.io/distroless/python3-debian12", "gcr.io/distroless/python3-debian12:latest"),
        (f"iris@{DIGEST}", f"docker.io/library/iris@{DIGEST}"),
        (f"a.example/b__c/d-e.f:x@{DIGEST}", f"a.example/b__c/d-e.f:x@{DIGEST}"),
    ],
)
def test_a_reference_is_completed_as_docker_completes_it(text: str, full: str) -> None:
    assert str(parse_reference(text)) == full


@pytest.mark.parametrize(
    "text",
    [
        "", "Iris", "iris:", "iris@sha256:12", "a//b", "/a", "a/", "a b", "iris:ä", "-a", "a..b/c:x y", "iris\n",
        "a" * 600,
        "host.example/UPPER", "iris@md5:" + "0" * 32,
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused_with_what_one_looks_like(text: str) -> None:
    with pytest.raises(SpecError, match=r"is not the name of an image .*registry\.example\.com"):
        parse_reference(text)


def test_a_digest_decides_and_the_tag_is_for_people() -> None:
    reference = parse_reference(f"a.example/iris:1@{DIGEST}")
    assert reference.wanted == DIGEST
    assert parse_reference("a.example/iris:1").wanted == "1"
    assert str(parse_reference("a.example/iris:1").at(DIGEST)) == f"a.example/iris@{DIGEST}"


@given(st.text(st.sampled_from("abzAZ09.:/@_-[]"), max_size=40))
def test_a_full_reference_reads_as_itself(text: str) -> None:
    try:
        reference = parse_reference(text)
    except SpecError:
        return
    assert parse_reference(str(reference)) == reference
