"""Time a source model and the ONNX files made from it in turn, in a child process."""

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from onnxpack.core.errors import SourceError
from onnxpack.core.scratch import make_temporary_folder
from onnxpack.data.test_inputs import Arrays, draw, read_arrays, write_arrays
from onnxpack.parity.compare import clean_runtime_error
from onnxpack.spec.load import SpecFile
from onnxpack.spec.part import SpecPart
from onnxpack.spec.served import make_served_spec
from onnxpack.timing.probe import read_peak_rss
from onnxpack.transforms.arrays import apply_preprocess
from onnxpack.transforms.outputs import apply_postprocess
from onnxpack.worker import Say, Task
from onnxpack.worker.call import call_alone

Answer = Callable[[Arrays], Any]


@dataclass(frozen=True)
class Contender:
    """The measurements of one model; ``times`` are the seconds of every call, for each of the sizes."""

    load_seconds: float
    peak_rss_bytes: int
    times: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Contest:
    """The measurements of all contenders, by name."""

    contenders: dict[str, Contender]


@dataclass(frozen=True)
class HoldContest(Task[Contest]):
    """Run the source model of a spec under the name ``source`` (None: not at all), then each file in ``models``."""

    NAME = "bench"
    spec: SpecPart
    source: str | None
    names: tuple[str, ...]
    """Of the source model's outputs."""
    models: dict[str, Path]
    sizes: tuple[dict[str, int], ...]
    """Of every axis that a client sees, one dict for each round of timing."""
    seconds: float
    """The bound of all rounds together, but for the least number of runs."""
    threads: int

    def run(self, folder: Path, say: Say) -> Contest:
        """Time all models in turn.

        Raises:
            SourceError: a model cannot be loaded or run.
        """
        return _hold_contest(self)


@dataclass(frozen=True)
class PeakMemory:
    """The peak resident set of a process, in bytes."""

    rss_bytes: int


@dataclass(frozen=True)
class MeasureMemory(Task[PeakMemory]):
    """Run one model once in a process of its own: the file ``path``, or else the source model."""

    NAME = "peak memory"
    spec: SpecPart
    names: tuple[str, ...]
    path: Path | None
    inputs: Path
    threads: int

    def run(self, folder: Path, say: Say) -> PeakMemory:
        """Load the model, run it once, and read this process's peak memory."""
        _share_cpus(self.threads)
        answer = _model("it", self.path, self.threads) if self.path else _source(self.spec.file, self.names)
        answer(read_arrays(self.inputs))
        return PeakMemory(read_peak_rss("self"))


def _hold_contest(asked: HoldContest) -> Contest:
    from onnxpack.timing.models import load_in_turn

    _share_cpus(asked.threads)
    file, sizes = asked.spec.file, asked.sizes
    seen = make_served_spec(file.spec)
    makers: dict[str, Callable[[], Answer]] = {}
    if asked.source:
        makers[asked.source] = partial(_source, file, asked.names)
    makers |= {name: partial(_model, name, path, asked.threads) for name, path in asked.models.items()}
    answers, loads = load_in_turn(makers)
    share = asked.seconds / len(sizes)
    rounds = [_round(answers, draw(seen, at, number), share) for number, at in enumerate(sizes)]
    # The models are freed before the children below load them again, one at a time.
    answers.clear()
    found = {}
    with make_temporary_folder() as folder:
        inputs = folder / "inputs.npz"
        # The largest sizes, at which the peak is.
        write_arrays(inputs, draw(seen, sizes[-1], len(sizes) - 1))
        for name, load in loads.items():
            times = tuple(tuple(part[name]) for part in rounds)
            task = MeasureMemory(asked.spec, asked.names, asked.models.get(name), inputs, asked.threads)
            found[name] = Contender(load, call_alone(task).rss_bytes, times)
    return Contest(found)


def _round(answers: Mapping[str, Answer], inputs: Arrays, seconds: float) -> dict[str, list[float]]:
    from onnxpack.timing.models import Work, time_side_by_side

    works: dict[str, Work] = {name: partial(answer, inputs) for name, answer in answers.items()}
    return time_side_by_side(works, seconds)


def _source(file: SpecFile, names: Sequence[str]) -> Answer:
    """Return a function that runs the source model as a client sees it, with the spec's steps done in numpy."""
    source = importlib.import_module(f"onnxpack.sources.{file.spec.model.framework}")
    model = source.load(file)
    # Without steps nothing is done around the model that would be timed with it.
    plain = not file.spec.preprocess and not file.spec.postprocess

    def answer(sent: Arrays) -> Any:
        if plain:
            return source.run(model, sent)
        outputs = source.run(model, apply_preprocess(file.spec, sent))
        return apply_postprocess(file, dict(zip(names, outputs, strict=True)))

    return answer


def _model(name: str, path: Path, threads: int) -> Answer:
    from onnxpack.timing.models import open_timed_session

    try:
        running = open_timed_session(path, threads)
    except Exception as error:  # onnxruntime's exceptions share no base
        raise _explain_refusal(name, path, error) from None

    def answer(sent: Arrays) -> Any:
        try:
            return running.run(None, sent)
        except Exception as error:  # as above
            raise _explain_refusal(name, path, error) from None

    return answer


def _explain_refusal(name: str, path: Path, error: Exception) -> SourceError:
    return SourceError(
        f"{name}: '{path}' does not run: {clean_runtime_error(error)}", "run the build again with this spec"
    )


def _share_cpus(threads: int) -> None:
    """Give what a source imports later (torch, scikit-learn, boosters) as many threads as the sessions have."""
    # PASSIVE and 0: threads that spin after a call would take the CPU from the model that is timed next.
    os.environ |= {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
