"""The chain is a tuple that the spec alone decides, and every command walks it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exporting import write_spec

from onnxpack.pipeline import UNTIL
from onnxpack.pipeline.chain import chain, stage_order
from onnxpack.pipeline.plan import Plan

ONNX = {"framework": "onnx", "path": "m.onnx"}
END = ["bundle", "image", "smoke"]


def plan(folder: Path, target: dict[str, Any], **fields: Any) -> Plan:
    (folder / "m.onnx").touch()
    return Plan(write_spec(folder, ONNX, targets={"t": target}, **fields), "t", folder / "dist")


def names(plan: Plan, until: str | None = None) -> list[str]:
    return [name for stage in chain(plan, until) for name in stage.names]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ({}, ["base", "export", "verify", *END]),
        ({"optimize": "extended"}, ["base", "export", "verify", "optimize", *END]),
        ({"precision": "int8-dynamic"}, ["base", "export", "verify", "precision", *END]),
        (
            {"precision": "int8-dynamic", "optimize": "extended"},
            ["base", "export", "verify", "precision", "optimize", *END],
        ),
        ({"precision": "auto", "optimize": "basic"}, ["base", "export", "verify", "precision", "optimize", *END]),
        ({"precision": "float16", "optimize": "basic"}, ["base", "export", "verify", "optimize", "precision", *END]),
        (
            {"device": "cuda", "precision": "bfloat16", "optimize": "basic"},
            ["base", "export", "verify", "optimize", "precision", *END],
        ),
    ],
)
def test_a_target_goes_through_what_it_asks_for(tmp_path: Path, target: dict[str, Any], expected: list[str]) -> None:
    assert names(plan(tmp_path, target)) == expected


def test_steps_come_behind_verify_and_belong_to_it(tmp_path: Path) -> None:
    asked = plan(tmp_path, {}, postprocess=[{"op": "sigmoid", "input": "y"}])
    assert names(asked)[:4] == ["base", "export", "verify", "steps"]
    assert names(asked, "verify") == ["export", "verify", "steps"]
    assert names(asked, "export") == ["export"]


@pytest.mark.parametrize(
    ("until", "expected"),
    [
        ("optimize", ["export", "verify", "optimize"]),
        ("precision", ["export", "verify", "optimize", "precision"]),
        ("bundle", ["export", "verify", "optimize", "precision", "bundle"]),
        ("image", ["base", "export", "verify", "optimize", "precision", "bundle", "image"]),
    ],
)
def test_until_cuts_the_targets_own_order(tmp_path: Path, until: str, expected: list[str]) -> None:
    halved = plan(tmp_path, {"precision": "float16", "optimize": "basic"})
    assert names(halved, until) == expected


@pytest.mark.parametrize("until", ["precision", "optimize"])
def test_until_a_stage_that_nothing_asks_for_stops_before_the_bundle(tmp_path: Path, until: str) -> None:
    assert names(plan(tmp_path, {}), until) == ["export", "verify"]


def test_the_order_has_every_stage_once(tmp_path: Path) -> None:
    for target in ({}, {"precision": "float16"}):
        order = stage_order(plan(tmp_path, target))
        assert set(order) == {"base", *UNTIL, "steps", "reproduce", "push"}
        assert len(set(order)) == len(order)


def test_a_plan_that_pushes_does_so_when_the_image_has_passed(tmp_path: Path) -> None:
    asked = replace(plan(tmp_path, {}), push=True)
    assert chain(asked, "smoke")[-1].names == ("push",)
    assert chain(asked)[-1].names == ("push",)
    assert chain(asked, "image")[-1].names == ("image",)
    assert "push" not in [name for stage in chain(plan(tmp_path, {})) for name in stage.names]
