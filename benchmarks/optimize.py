"""Compares the tools that shorten graphs, and writes benchmarks/optimize.md.

Run by `.venv/bin/python benchmarks/optimize.py`; onnxslim takes part where it is installed. Every tool starts from the
same export; all results of one model are then timed in turn in one process, so the ratios travel and seconds do not.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import OnnxpackError
from onnxpack.core.values import MODEL
from onnxpack.data.test_inputs import draw, read_arrays, write_arrays
from onnxpack.graph.check import iterate_graphs, open_session, read_facts
from onnxpack.graph.isa import detect_isas
from onnxpack.pipeline.export import export_task
from onnxpack.spec.load import SpecFile, load
from onnxpack.spec.model import AxisRange, Input, Model
from onnxpack.tasks.measure import MeasureModels
from onnxpack.tasks.optimize import OptimizeModel
from onnxpack.timing import Measured
from onnxpack.worker.call import Setting, call

ROOT = Path(__file__).resolve().parents[1]
NETS = ROOT / "benchmarks/precision"
SECONDS = 20.0
ISA = ("amx", "avx512-vnni", "avx512", "avx-vnni", "avx2", "neon-i8mm", "neon-dotprod", "neon")
"""The best first."""
FOLLOWS = """\
The runtime optimises every file again when it loads it, so once loaded all of them run alike; what offline optimisation
saves is a part of the load, most of it where `all` has laid out the weights of convolutions already. PyTorch's exporter
runs onnxscript's optimiser itself: a second run changes nothing. onnxslim takes more nodes out of the transformer, and
neither load nor speed shows it. So neither is worth a dependency, and `optimize` is onnxruntime's own."""


def main() -> None:
    """Measures and writes."""
    parts = ["# Graph optimisation", about()]
    for title, file in specs():
        with tempfile.TemporaryDirectory(prefix="onnxpack-optimize-") as folder:
            parts.append(f"## {title}\n\n" + "\n".join(rows(file, Path(folder))))
    text = "\n\n".join(parts) + "\n"
    (ROOT / "benchmarks/optimize.md").write_text(text)
    print(text)


def specs() -> Iterator[tuple[str, SpecFile]]:
    """The models; those that are large have random weights."""
    digits = load(ROOT / "specs/digits/spec.yaml")
    yield "digits CNN, batch 8", digits
    nets = {
        "ResNet-18 at 32 x 32, batch 1": ("ResNet18", ("batch", 3, 32, 32)),
        "Transformer encoder of 4 layers, batch 1": ("Encoder", ("batch", 8, 8)),
    }
    for title, (factory, shape) in nets.items():
        spec = replace(
            digits.spec,
            model=Model(framework="torch", factory=f"models.py:{factory}", weights="none"),
            inputs={"image": Input(dtype="float32", shape=shape)},
            dynamic_axes={"batch": AxisRange(max=4, opt=1)},
            opset=18,
        )
        yield title, replace(digits, spec=spec, path=NETS / "spec.yaml", root=NETS)


def rows(file: SpecFile, folder: Path) -> list[str]:
    """A table of one model: every tool's result against the export."""
    source = folder / "export"
    source.mkdir()
    call(export_task(file), Setting(folder, source, root=file.root))
    arrays = draw(file.spec, {axis.name: axis.opt for axis in file.spec.axes}, 0)
    write_arrays(folder / "x.npz", arrays)
    models, failures = {"as exported": source / MODEL}, {}
    for name, tool in tools().items():
        made = folder / name.replace(" ", "-")
        made.mkdir()
        try:
            tool(source / MODEL, made)
        except (OnnxpackError, ImportError) as error:
            failures[name] = str(error).splitlines()[0]
            continue
        models[name] = made / MODEL
    found = timed(models, folder)
    wanted = answers(source / MODEL, folder)
    lines = [
        "| tool | nodes | bytes | load | p50 | speed | max abs diff | domains |",
        "|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for name, path in models.items():
        difference = max(float(np.abs(a - b).max()) for a, b in zip(wanted, answers(path, folder), strict=True))
        lines.append(row(name, path, found[name], difference))
    return lines + [f"| {name} | {why} | | | | | | |" for name, why in failures.items()]


def row(name: str, path: Path, found: Measured, difference: float) -> str:
    """One tool's line."""
    model = onnx.load(path)
    nodes = [node for graph in iterate_graphs(model.graph) for node in graph.node]
    domains = ", ".join(sorted({node.domain for node in nodes if node.domain}))
    speed = f"{found.speedup:.2f}\N{MULTIPLICATION SIGN}"
    return (
        f"| {name} | {len(nodes)} | {path.stat().st_size:,} | {found.load_seconds * 1e3:.1f} ms "
        f"| {found.latency_p50_seconds * 1e3:.2f} ms | {speed} | {difference:.1e} | {domains} |"
    )


def tools() -> dict[str, Callable[[Path, Path], None]]:
    """By name: each writes a model.onnx into a folder."""
    levels = {f"onnxruntime {level}": ours(level) for level in ("basic", "extended", "all")}
    return {"onnxscript": by_onnxscript, "onnxslim": by_onnxslim, **levels}


def by_onnxscript(source: Path, folder: Path) -> None:
    """PyTorch's exporter runs it already."""
    from onnxscript import optimizer

    onnx.save(optimizer.optimize(onnx.load(source)), folder / MODEL)


def by_onnxslim(source: Path, folder: Path) -> None:
    """An optimiser in pure Python."""
    import onnxslim

    onnx.save(onnxslim.slim(onnx.load(source)), folder / MODEL)


def ours(level: str) -> Callable[[Path, Path], None]:
    """What `optimize: <level>` does."""
    isa = next(name for name in ISA if name in detect_isas())

    def tool(source: Path, folder: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            call(OptimizeModel(read_facts(source), level, isa, ()), Setting(Path(scratch), folder))

    return tool


def timed(models: dict[str, Path], folder: Path) -> dict[str, Measured]:
    """All models in turn, on one thread."""
    inputs = Artifact.of(folder / "x.npz")
    files = {name: read_facts(path) for name, path in models.items()}
    task = MeasureModels(files, tuple(files), inputs, inputs, SECONDS, 1, ())
    return call(task, Setting(folder)).result.models


def answers(path: Path, folder: Path) -> list[Any]:
    """What a model gives for the inputs that it was timed with."""
    given: list[Any] = open_session(path).run(None, read_arrays(folder / "x.npz"))
    return given


def about() -> str:
    """Where these come from, and what follows."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "onnxscript", "onnxslim"))
    made = (
        f"Made by `benchmarks/optimize.py` with {versions} on one of {os.cpu_count()} shared cores. Speed is the "
        "median of paired ratios to the export. The maximal difference is to the export's answers."
    )
    return f"{made}\n\n{FOLLOWS}"


if __name__ == "__main__":
    main()
