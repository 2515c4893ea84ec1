"""Times a source model and the ONNX files made of it in turn. All of it runs in a child process."""

import importlib
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnxpack.child import call
from onnxpack.errors import SourceError
from onnxpack.measure.models import Work, loaded, session, side_by_side
from onnxpack.probe import peak_rss
from onnxpack.samples import Arrays, draw, read_arrays, write_arrays
from onnxpack.spec.client import client_spec
from onnxpack.spec.load import SpecFile
from onnxpack.steps import postprocessed, preprocessed
from onnxpack.verify import runtime_words

Answer = Callable[[Arrays], Any]


def contest(
    spec: str,
    source: str | None,
    names: list[str],
    models: Mapping[str, str],
    sizes: list[dict[str, int]],
    seconds: float,
    threads: int,
) -> dict[str, dict[str, Any]]:
    """Runs the source model of ``spec`` under the name ``source`` (None: not at all), then each file in ``models``.

    ``sizes`` are those of every axis that a client sees, one dict for each round of timing; ``seconds`` bounds all
    rounds together, but for the least number of runs. ``names`` are those of the source model's outputs. Returns by
    name: ``load_seconds``, ``peak_rss_bytes``, and ``times``, for each of ``sizes`` the seconds of every call.

    Raises:
        SourceError: a model cannot be loaded or run.
    """
    _share_cpus(threads)
    file = SpecFile.from_json(spec)
    seen = client_spec(file.spec)
    makers: dict[str, Callable[[], Answer]] = {source: partial(_source, file, names)} if source else {}
    makers |= {name: partial(_model, name, path, threads) for name, path in models.items()}
    answers, loads = loaded(makers)
    share = seconds / len(sizes)
    rounds = [_round(answers, draw(seen, at, number), share) for number, at in enumerate(sizes)]
    answers.clear()
    inputs = draw(seen, sizes[-1], len(sizes) - 1)
    found = {}
    for name, load in loads.items():
        request = {"spec": spec, "names": names, "path": models.get(name), "threads": threads}
        times = [part[name] for part in rounds]
        found[name] = {"load_seconds": load, "peak_rss_bytes": _peak(request, inputs), "times": times}
    return found


def peak_memory(spec: str, names: list[str], path: str | None, inputs: str, threads: int) -> int:
    """The peak resident set of this process, in bytes, after it ran the file ``path``, or else the source model."""
    _share_cpus(threads)
    answer = _model("the model", path, threads) if path else _source(SpecFile.from_json(spec), names)
    answer(read_arrays(Path(inputs)))
    return peak_rss("self")


def _peak(request: dict[str, Any], inputs: Arrays) -> int:
    with TemporaryDirectory(prefix="onnxpack-") as scratch:
        file = Path(scratch, "inputs.npz")
        write_arrays(file, inputs)
        found: int = call("onnxpack.measure.contest:peak_memory", {**request, "inputs": str(file)}, Path(scratch))
    return found


def _round(answers: Mapping[str, Answer], inputs: Arrays, seconds: float) -> dict[str, list[float]]:
    works: dict[str, Work] = {name: partial(answer, inputs) for name, answer in answers.items()}
    return side_by_side(works, seconds)


def _source(file: SpecFile, names: list[str]) -> Answer:
    """The source model as a client would see it, the spec's steps done in numpy."""
    source = importlib.import_module(f"onnxpack.sources.{file.spec.model.framework}")
    model = source.load(file)
    plain = not file.spec.preprocess and not file.spec.postprocess

    def answer(sent: Arrays) -> Any:
        if plain:
            return source.run(model, sent)
        outputs = source.run(model, preprocessed(file.spec, sent))
        return postprocessed(file, dict(zip(names, outputs, strict=True)))

    return answer


def _model(name: str, path: str, threads: int) -> Answer:
    try:
        running = session(path, threads)
    except Exception as error:  # onnxruntime's exceptions share no base
        raise _refused(name, path, error) from None

    def answer(sent: Arrays) -> Any:
        try:
            return running.run(None, sent)
        except Exception as error:  # as above
            raise _refused(name, path, error) from None

    return answer


def _refused(name: str, path: str, error: Exception) -> SourceError:
    return SourceError(f"{name}: '{path}' does not run: {runtime_words(error)}", "build it again from this spec")


def _share_cpus(threads: int) -> None:
    """For what a source imports later: torch, scikit-learn, boosters. As many threads as the sessions have, and no
    waiting in a loop after a call, which would take the CPU from the model that is timed next.
    """
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
