"""A soak: which sizes are asked for, in which form, and what is said of the memory."""

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_examples import MODULES, save_iris, save_odd, write_modules
from serving import serving

from onnxpack.data.test_inputs import write_arrays
from onnxpack.timing import soak as soaking
from onnxpack.timing.soak import draw_sizes, fit_sizes, measure_growth, read_rss, resize_arrays, soak

AXES = {"batch": (1, 1024), "seq": (0, 512)}
SHAPES: dict[str, tuple[int | str, ...]] = {"x": ("batch", 3, "seq"), "y": ("batch",)}
MEGABYTE = 2**20


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Put an example's modules into a folder, and where they can be imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def make(name: str, save: Callable[[Path], None], **changes: Any) -> Path:
        write_modules(tmp_path, replace(MODULES[name], **changes))
        save(tmp_path / "model.onnx")
        monkeypatch.syspath_prepend(tmp_path)
        return tmp_path

    yield make
    sys.modules.pop("inference", None)


def test_the_first_sizes_are_the_least_the_usual_and_the_greatest() -> None:
    draws = random.Random(0)
    found = [draw_sizes(AXES, {"batch": 8, "seq": 16}, number, draws) for number in range(3)]
    assert found == [{"batch": 1, "seq": 0}, {"batch": 8, "seq": 16}, {"batch": 1024, "seq": 512}]


def test_drawn_sizes_are_the_same_each_time_and_spread_over_the_whole_range() -> None:
    draws, again = random.Random(0), random.Random(0)
    found = [draw_sizes(AXES, dict.fromkeys(AXES, 8), number, draws)["batch"] for number in range(3, 1003)]
    assert found == [draw_sizes(AXES, dict.fromkeys(AXES, 8), number, again)["batch"] for number in range(3, 1003)]
    assert 1 <= min(found) <= 2
    assert 900 < max(found) <= 1024
    assert 300 < sum(size <= 32 for size in found) < 700, "half of the logarithms"


def test_arrays_of_other_sizes_have_the_values_of_the_case() -> None:
    arrays = {"x": np.arange(12).reshape(2, 3, 2), "y": np.array([5, 6])}
    made = resize_arrays(arrays, SHAPES, {"batch": 3, "seq": 1})
    assert made["x"].tolist() == [[[0], [2], [4]], [[6], [8], [10]], [[0], [2], [4]]]
    assert made["y"].tolist() == [5, 6, 5]
    none = resize_arrays({"x": np.zeros((0, 3, 0)), "y": np.array([], "U4")}, SHAPES, {"batch": 2, "seq": 1})
    assert (none["x"].shape, none["y"].tolist()) == ((2, 3, 1), ["", ""])


def test_sizes_that_are_too_large_to_send_are_halved_but_never_below_the_least() -> None:
    arrays = {"x": np.zeros((1, 3, 1)), "y": np.zeros(1)}
    assert fit_sizes(arrays, SHAPES, AXES, {"batch": 1024, "seq": 512}) == {"batch": 1024, "seq": 512}
    axes = {"batch": (1, 2**20), "seq": (2**21, 2**22)}
    found = fit_sizes(arrays, SHAPES, axes, {"batch": 2**20, "seq": 2**22})
    assert found["seq"] >= 2**21
    assert 8 * found["batch"] * (3 * found["seq"] + 1) <= 64 * MEGABYTE
    assert fit_sizes(arrays, {"x": (2**30, 3, 1)}, {}, {}) == {}, "fixed sizes stay"


@pytest.mark.parametrize(
    ("memory", "growth"),
    [
        ([100] * 8, None),
        ([100] * 9, 0),
        ([*range(30, 60), *[60] * 60], 0),  # the warm-up is no growth
        ([100] * 30 + [500] + [100] * 59, 0),  # nor is what one request leaves for a moment
        ([1000 - number for number in range(90)], 0),
        ([10 * number for number in range(90)], 510),
        ([100] * 60 + [900] * 30, 800),
    ],
)
def test_growth_is_what_came_behind_the_warm_up_and_stayed(memory: list[int], growth: int | None) -> None:
    assert measure_growth(memory) == growth


def test_read_rss_counts_what_a_process_holds() -> None:
    before = read_rss("self")
    held = np.ones(64 * MEGABYTE, np.uint8)
    assert read_rss("self") - before > 48 * MEGABYTE
    assert held[0] == 1


def test_a_module_without_a_server_is_soaked_in_this_process(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app("iris", save_iris)
    monkeypatch.setattr(soaking, "_TIMES", (12, 40))
    write_arrays(tmp_path / "case.npz", {"float_input": np.ones((2, 4), np.float32)})
    found = soaking.main(["0", str(tmp_path / "case.npz"), "60"])
    assert found["requests"] == 40
    assert found["peak_rss_bytes"] >= found["rss_bytes"] > 20 * MEGABYTE
    assert found["growth_bytes"] >= 0


def test_a_soak_ends_with_its_time_once_the_least_number_is_answered(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    app("iris", save_iris)
    monkeypatch.setattr(soaking, "_TIMES", (12, 10**9))
    arrays = {"float_input": np.ones((2, 4), np.float32)}
    assert soak(0, arrays, 0.2, "self")["requests"] >= 12
    assert soak(0, arrays, 0.0, "self")["requests"] == 1, "not even six times nothing is left"


def test_a_leak_is_seen(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = app("iris", save_iris)
    text = (folder / "inference.py").read_text()
    line = "        return self.run_checked(arrays)"
    changed = text.replace(line, f"        LEAKED.append(np.ones(2**17))  # 1 MiB\n{line}")
    assert changed != text
    (folder / "inference.py").write_text(changed.replace("NAME =", "LEAKED: list[Any] = []\nNAME =", 1))
    monkeypatch.setattr(soaking, "_TIMES", (90, 90))
    found = soak(0, {"float_input": np.ones((2, 4), np.float32)}, 60.0, "self")
    assert 45 * MEGABYTE < found["growth_bytes"] < 60 * MEGABYTE


def test_the_server_answers_json_and_binary_and_its_memory_is_read(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking, "_JSON_NUMBERS", 32)
    monkeypatch.setattr(soaking, "_TIMES", (60, 60))
    with serving(app("iris", save_iris)) as server:
        found = soak(server.port, {"float_input": np.ones((2, 4), np.float32)}, 60.0, str(server.process.pid))
    assert found["requests"] == 60
    assert found["rss_bytes"] > 20 * MEGABYTE


def test_texts_and_truth_values_travel_in_binary_too(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking, "_JSON_NUMBERS", 0)
    monkeypatch.setattr(soaking, "_TIMES", (9, 9))
    arrays = {
        "input.1": np.array([["a"], ["ü\N{GRINNING FACE}"]]),
        "class": np.array([True, False]),
        "a b": np.ones((2, 2), np.int8),
        "a_b": np.array(3, np.int8),
    }
    with serving(app("odd", save_odd)) as server:
        assert soak(server.port, arrays, 60.0, str(server.process.pid))["requests"] == 9


def test_a_request_above_the_servers_limit_is_no_failure(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soaking, "_TIMES", (20, 20))
    with serving(app("iris", save_iris, max_body=1024)) as server:
        found = soak(server.port, {"float_input": np.ones((2, 4), np.float32)}, 60.0, str(server.process.pid))
    assert found["requests"] == 20


def test_a_declared_size_that_the_server_refuses_is_told(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = app("iris", save_iris)
    text = (folder / "inference.py").read_text()
    with serving(folder) as server:
        # What the probe takes for declared is more than the server does.
        (folder / "inference.py").write_text(text.replace('"batch": (1, 64)', '"batch": (1, 65)'))
        words = r"the server answers 400 to inputs float_input \[65, 4\]: .*1 to 64, got 65"
        with pytest.raises(SystemExit, match=words):
            soak(server.port, {"float_input": np.ones((2, 4), np.float32)}, 60.0, str(server.process.pid))


def test_a_declared_size_that_the_module_refuses_is_told(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = app("iris", save_iris)
    with (folder / "inference.py").open("a") as file:
        file.write("    # appended\n")
        file.write("def check_shapes(shapes: Any) -> None:\n")
        file.write('    raise ValueError("not of this size")\n')
    with pytest.raises(SystemExit, match=r"the module refuses inputs float_input \[1, 4\]: not of this size"):
        soak(0, {"float_input": np.ones((2, 4), np.float32)}, 60.0, "self")
