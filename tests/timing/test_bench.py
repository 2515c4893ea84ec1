"""A benchmark's figures from raw times, its tables and its picture: pure, on fixed numbers."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from xml.etree import ElementTree as ET

import pytest

from onnxpack.core.text import format_time
from onnxpack.spec.load import SpecFile
from onnxpack.timing.bench import (
    Bench,
    Entry,
    Machine,
    describe_machine,
    format_bench,
    format_count,
    format_gain,
    format_size,
    make_results,
    measure_source_bytes,
)
from onnxpack.timing.contest import Contender
from onnxpack.timing.picture import draw_picture, make_panels, write_picture

HERE = Path(__file__).parent
INDEX = json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "1.safetensors"}})
SVG = "{http://www.w3.org/2000/svg}"
ENTRIES = [
    Entry("source", "torch (source)"),
    Entry("float32", "float32 export", Path("a.onnx"), 44_700_000),
    Entry("target", "cpu (int8-static)", Path("b.onnx"), 11_300_000),
    Entry("target", "small (int4-weights)", Path("c.onnx"), 900_000),
]
BASE = [0.010, 0.011, 0.012, 0.013, 0.014]
FOUND = {
    entry.label: Contender(load, peak, (tuple(t / factor for t in BASE), tuple(t * 6 / factor for t in BASE)))
    for entry, load, peak, factor in zip(
        ENTRIES, (0.31, 0.052, 0.021, 0.0009), (412_000_000, 171_000_000, 120_000_000, 92_300_000), (1, 2, 4, 0.5),
        strict=True,
    )
}  # fmt: skip
SIZES = ({"batch": 1, "seq": 128}, {"batch": 32, "seq": 128})


@pytest.fixture
def bench() -> Bench:
    results = make_results(ENTRIES, SIZES, "batch", FOUND)
    return Bench("fraud", Machine("Some CPU @ 2.60GHz", 4, 2), "batch", 0, results, ("target cuda is not built",))


def test_figures_come_from_the_raw_times(bench: Bench) -> None:
    source, export, cpu, slow = bench.results
    first, last = cpu.timings
    assert (first.p50_seconds, first.rows, first.runs) == (0.003, 1, 5)
    assert first.p99_seconds == pytest.approx(0.00349)
    assert (last.rows, last.rows_per_second) == (32, pytest.approx(32 / 0.018))
    assert first.speedup == {"source": pytest.approx(4), "float32": pytest.approx(2)}
    assert source.timings[0].speedup == {"float32": pytest.approx(0.5)}
    assert export.timings[0].speedup == {"source": pytest.approx(2)}
    assert slow.timings[1].speedup == {"source": pytest.approx(0.5), "float32": pytest.approx(0.25)}


def test_a_source_that_was_timed_apart_is_compared_by_medians() -> None:
    found = FOUND | {"torch (source)": replace(FOUND["torch (source)"], times=((0.024,) * 9, (0.05,) * 3))}
    (_, export, *_) = make_results(ENTRIES, SIZES, "batch", found)
    assert export.timings[0].speedup["source"] == pytest.approx(4)


def test_the_tables(bench: Bench, expected: Callable[[Path, str], None]) -> None:
    expected(HERE / "bench.txt", format_bench(bench) + "\n")


def test_a_model_alone_is_compared_with_nothing() -> None:
    entry = Entry("model", "m.onnx", Path("m.onnx"), 10)
    results = make_results([entry], [{}], None, {"m.onnx": replace(FOUND["float32 export"], times=(tuple(BASE),))})
    text = format_bench(Bench("m.onnx", Machine("CPU", 1, 1), None, 0, results))
    assert text.splitlines()[0] == "m.onnx on CPU, 1 thread"
    assert text.splitlines()[2].split() == ["model", "p50", "p99", "runs/s"]
    assert "against" not in text


def test_the_document_is_json(bench: Bench) -> None:
    document = json.loads(json.dumps(bench.document()))
    assert set(document) == {"name", "machine", "batch_axis", "usual", "results", "notes"}
    assert document["results"][0]["size_bytes"] is None
    assert document["results"][1]["timings"][1]["sizes"] == {"batch": 32, "seq": 128}


def test_the_picture(bench: Bench, expected: Callable[[Path, str], None]) -> None:
    expected(HERE / "bench.svg", draw_picture(bench))


def test_the_picture_says_what_the_table_says(bench: Bench) -> None:
    root = ET.fromstring(draw_picture(bench))
    texts = [element.text for element in root.iter(f"{SVG}text")]
    words = "fraud", "Some CPU @ 2.60GHz, 2 threads", "3.00 ms", "4.0×", "1,780", "92.3 MB", "900.0 kB"  # noqa: RUF001
    assert {*words, "less is better"} <= {*texts}
    assert {element.tag.removeprefix(SVG) for element in root.iter()} == {"svg", "title", "rect", "text", "line"}
    latency, throughput, memory, files = make_panels(bench)
    assert "× against torch (source)" in latency.hint  # noqa: RUF001
    assert throughput.hint == "batch 32 · rows in a second"
    assert [panel.better.split()[0] for panel in make_panels(bench)] == ["less", "more", "less", "less"]
    assert [bar.value for bar in files.bars][:2] == [None, 44_700_000]
    assert memory.bars[0].text == "412.0 MB"


def test_picture_of_hostile_names_holds_no_script(bench: Bench) -> None:
    nasty = '</text><script>alert("1")</script>&\x00\ud800'
    results = (replace(bench.results[0], label=nasty), *bench.results[1:])
    text = draw_picture(replace(bench, name=nasty, results=results))
    text.encode()
    root = ET.fromstring(text)
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in text


def test_bars_stay_in_their_panels(bench: Bench) -> None:
    noisy = {**FOUND, "torch (source)": replace(FOUND["torch (source)"], times=((*BASE, 9.0), tuple(BASE)))}
    bench = replace(bench, results=make_results(ENTRIES, SIZES, "batch", noisy))
    root = ET.fromstring(draw_picture(bench))
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.get("x")]
    widths = [float(bar.get("width", 0)) for bar in bars]
    assert len(bars) == 4 * 4 - 1
    assert max(widths) == pytest.approx(212)
    assert all(width >= 1.5 for width in widths)
    for line in root.iter(f"{SVG}line"):
        assert 40 <= float(line.get("x1", 0)) <= float(line.get("x2", 0)) <= 1080
    longest = [bar for bar in bars if float(bar.get("x", 0)) < 560][:4]
    assert max(float(bar.get("width", 0)) for bar in longest) > 100  # one noisy call does not flatten them


def test_write_picture_replaces_the_file_whole(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "b.svg").write_text("old")
    write_picture(bench, tmp_path / "b.svg")
    assert (tmp_path / "b.svg").read_text() == draw_picture(bench)
    assert [path.name for path in tmp_path.iterdir()] == ["b.svg"]


def source(folder: Path, **model: Any) -> SpecFile:
    """Return what ``measure_source_bytes`` reads of a spec."""
    spec = SimpleNamespace(model=SimpleNamespace(**{"path": None, "weights_file": None, **model}))
    return cast(SpecFile, SimpleNamespace(spec=spec, resolve=lambda name: folder / name))


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({"path": "net.pt"}, 5),
        ({"weights_file": "w.safetensors.index.json"}, len(INDEX) + 7),
        ({"path": "saved/saved_model.pb"}, 3 + 4),
        ({}, None),
    ],
    ids=["file", "shards", "saved_model", "code alone"],
)
def test_source_bytes_counts_every_file_of_the_source(tmp_path: Path, model: dict[str, str], size: int | None) -> None:
    files = {"net.pt": "12345", "w.safetensors.index.json": INDEX, "1.safetensors": "1234", "2.safetensors": "123",
             "saved/saved_model.pb": "123", "saved/variables/data": "1234"}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert measure_source_bytes(source(tmp_path, **model)) == size


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (format_time(2.5), "2.50 s"),
        (format_time(0.0123), "12.3 ms"),
        (format_time(0.000_456), "456 µs"),
        (format_size(2_340_000_000), "2.3 GB"),
        (format_size(None), "-"),
        (format_count(123_456), "123,000"),
        (format_count(12.34), "12.3"),
        (format_count(1000), "1,000"),
        (format_gain(0.003_164)[:-1], "0.00316"),
        (format_gain(1.5)[:-1], "1.50"),
        (format_gain(316.4)[:-1], "316"),
        (format_gain(31_640.0)[:-1], "31,600"),
    ],
)
def test_numbers_have_three_digits(text: str, wanted: str) -> None:
    assert text == wanted


def test_the_machine_is_named_by_its_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some   CPU\n")
    assert describe_machine(3, tmp_path / "cpuinfo").processor == "Some CPU"
    (tmp_path / "cpuinfo").write_text("processor\t: 0\n")
    found = describe_machine(None, tmp_path / "cpuinfo")
    assert found.processor
    assert found.threads == found.cpus
