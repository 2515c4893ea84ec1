"""What Pods look like follows from the build, and an image without a digest is told."""

import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deploying import DIGEST, OTHER_DIGEST, REPOSITORY, make_build

from onnxpack.core.errors import SpecError
from onnxpack.deploy.sizing import Goals, make_sizing
from onnxpack.deploy.views import PodView, make_view
from onnxpack.oci.reference import parse_reference
from onnxpack.spec.delivery import Isa


def view(tmp_path: Path, named: str | None = None, **changes: Any) -> PodView:
    build = make_build(tmp_path, **changes)
    return make_view(build, make_sizing(build, Goals()), parse_reference(named) if named else None)


def test_an_image_is_the_one_that_was_pushed_or_the_one_that_is_named(tmp_path: Path) -> None:
    assert view(tmp_path / "a").reference == f"{REPOSITORY}@{DIGEST}"
    other = view(tmp_path / "b", f"localhost:5000/x:tag@{OTHER_DIGEST}", image=None)
    assert other.reference == f"localhost:5000/x@{OTHER_DIGEST}"


def test_an_image_that_nobody_pushed_is_told_with_how_to(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="iris, target cpu: the image was not pushed by its build") as caught:
        view(tmp_path, image={"pushed": None})
    assert f"--image {REPOSITORY}@sha256:…" in caught.value.problems[0].hint


def test_an_image_without_a_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="its image has no server"):
        view(tmp_path, serving={"ports": []})


@pytest.mark.parametrize(("ready", "failures"), [(None, 600), (0.5, 60), (30.0, 600)])
def test_a_start_may_take_twenty_times_as_long_as_it_did(tmp_path: Path, ready: float | None, failures: int) -> None:
    assert view(tmp_path, smoke={"ready_seconds": ready}).startup_failures == failures


@pytest.mark.parametrize("isa", typing.get_args(Isa))
def test_nodes_have_the_processor_that_was_verified(tmp_path: Path, isa: str) -> None:
    found = view(tmp_path, serving={"isa": isa}).requirements
    assert all(one.key.startswith("feature.node.kubernetes.io/cpu-cpuid.") for one in found)
    assert bool(found) is (isa != "neon"), "every ARM processor has it"
    absent = {one.key.rpartition(".")[2] for one in found if one.operator == "DoesNotExist"}
    assert absent == ({"AVX512VNNI", "AVXVNNI"} if isa in ("avx2", "avx512") else set())


def test_any_node_will_do_where_the_spec_names_no_processor(tmp_path: Path) -> None:
    assert view(tmp_path).requirements == ()


@pytest.mark.parametrize(
    ("millicores", "shown", "share"), [(100, "100m", "0.1"), (2000, "2", "2"), (1250, "1250m", "1.25")]
)
def test_cpu_is_written_as_each_reader_has_it(tmp_path: Path, millicores: int, shown: str, share: str) -> None:
    made = view(tmp_path)
    made = replace(made, sizing=replace(made.sizing, cpu_request=millicores))
    assert (made.cpu_request, made.cpu_share) == (shown, share)


def test_a_version_that_no_label_can_hold_is_left_out(tmp_path: Path) -> None:
    assert "app.kubernetes.io/version" not in view(tmp_path, version="…").labels
