"""sentence 1.0.0 on ONNX Runtime.

Iris species from four measurements of a flower.

ONNX opset 17, precision float32, device cpu.

    input   dtype    shape
    text    string   [batch]

    output  dtype    shape
    label   string   [batch]
    scores  float32  [batch, 3]

    axis    size
    batch   1 to 8   usually 2
    tokens  1 to 16  usually 4

From Python:

    prediction = Model().predict(text)
    prediction.label

From a shell, with arrays saved under the names of the inputs; files.py says what is read and written:

    python -m inference predict --input x.npz --output y.npz
    python -m inference bench
    python -m inference check

Options without a command are those of predict.
"""

import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from intake import conclude, prepare

NAME = "sentence"
VERSION = "1.0.0"
MODEL_FILE = Path(__file__).with_name("model.onnx")


class Tensor(NamedTuple):
    """What the model takes or gives; a name in the shape is an axis of any size that AXES allows."""

    dtype: type[np.generic]
    shape: tuple[int | str, ...]


INPUTS = {
    "text": Tensor(np.str_, ("batch",)),
}
OUTPUTS = {
    "label": Tensor(np.str_, ("batch",)),
    "scores": Tensor(np.float32, ("batch", 3)),
}
AXES = {  # the least and the greatest size of each
    "batch": (1, 8),
}
Arrays = dict[str, NDArray[Any]]
Compute = Callable[[Arrays], Arrays]


class Prediction(NamedTuple):
    """The model's outputs, in its order."""

    label: NDArray[np.object_]  # [batch]
    scores: NDArray[np.float32]  # [batch, 3]


class Model:
    """The model, loaded once. Any number of threads may use it at the same time."""

    def __init__(self, path: Path = MODEL_FILE, threads: int | None = None) -> None:
        """Load the model; ``threads`` is for one prediction, by default one for each CPU of the container."""
        self.threads = threads or cpu_count()
        self._session, self._refusal = open_session(path, self.threads)

    def predict(self, text: Sequence[str] | NDArray[Any]) -> Prediction:
        """Run the model once.

        text: strings [batch]

        Raises TypeError for another dtype, and ValueError for a shape or values that the model does not take.
        """
        return Prediction(*self.run({"text": text}).values())

    def predict_batches(self, rows: Iterable[Any], batch_size: int = 2) -> Iterator[Prediction]:
        """Predict sample by sample, in order and lazily, while the model runs on whole batches.

        A row is text without its first axis, and so is what comes out for it.
        Consecutive rows of the same shape share a batch, so that memory holds one batch at a time.
        """
        if not 1 <= batch_size <= 8:
            raise ValueError(f"batch_size must be 1 to 8, got {batch_size}")
        for _, alike in groupby(rows, key=np.shape):
            while batch := list(islice(alike, batch_size)):
                prediction = self.predict(stack(batch))
                yield from (Prediction(*parts) for parts in zip(*prediction, strict=True))

    def map(self, requests: Iterable[Any], threads: int | None = None) -> Iterator[Prediction]:
        """Predict every request, each text as predict takes it, in several threads.

        Results come lazily and in order, and an error comes at its place, behind the results before it.
        At most two requests for each thread are read ahead. By default there are so many threads that
        each CPU is used, at least two; a model that was loaded with ``threads=1`` gains most.
        """
        count = max(2, cpu_count() // self.threads) if threads is None else threads
        if count < 1:
            raise ValueError(f"threads must be 1 or more, got {count}")
        pool = ThreadPoolExecutor(count)

        def submit() -> Iterator[Future[Prediction]]:
            try:
                for request in requests:
                    yield pool.submit(self.predict, request)
            except Exception as error:  # of the requests: it waits for its turn
                failed: Future[Prediction] = Future()
                failed.set_exception(error)
                yield failed

        try:
            futures = submit()
            waiting = deque(islice(futures, 2 * count))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(islice(futures, 1))
        finally:
            pool.shutdown(cancel_futures=True)

    def warm_up(self) -> None:
        """Run once at the usual size, so that the first caller does not wait for what is set up lazily."""
        self.run(make_zeros())

    def run(self, inputs: Mapping[str, Sequence[Any] | NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Like predict, with the inputs and outputs by their names."""
        check_names(inputs)
        arrays = {name: as_array(name, value) for name, value in inputs.items()}
        for name, array in arrays.items():
            check_dtype(name, array)
        check_shapes({name: array.shape for name, array in arrays.items()})
        return self.run_checked(arrays)

    def run_checked(self, arrays: Arrays, compute: Compute | None = None) -> Arrays:
        """Like run, for a caller that has checked names, dtypes and shapes.

        ``compute`` runs the ONNX file on what was made of the inputs; by default this model does.
        """
        fed, context = prepare(arrays)
        return conclude((compute or self.compute)(fed), context)

    def compute(self, arrays: Arrays) -> Arrays:
        """Run the ONNX file itself."""
        # The session reads these arrays where they are: I/O binding would spare nothing, and cost 10 us.
        try:
            results = self._session.run(list(OUTPUTS), dict(arrays))
        except self._refusal as error:
            raise ValueError(f"the model cannot take these values: {one_line(error)}") from error
        return dict(zip(OUTPUTS, results, strict=True))


def make_zeros() -> dict[str, NDArray[Any]]:
    """Make inputs of the usual size."""
    return {"text": np.full((2,), "An example.", object)}


def as_array(name: str, value: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Give an array, also of a list of files or texts."""
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, bytes | str) or not isinstance(value, Sequence):
        raise TypeError(f"input {name!r}: expected a list or a numpy array, got {type(value).__name__}")
    return stack(value)


def stack(rows: Sequence[Any]) -> NDArray[Any]:
    """Make an array of rows; files and texts stay the objects that they are."""
    if not all(isinstance(row, bytes | str) for row in rows):
        return np.stack(rows)
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


def check_names(names: Iterable[str]) -> None:
    """Raise ValueError unless these are the names of the inputs."""
    given = list(names)
    for name in INPUTS:
        if name not in given:
            raise ValueError(f"input {name!r} is missing")
    for name in given:
        if name not in INPUTS:
            raise ValueError(f"there is no input {name!r}; the inputs are {', '.join(map(repr, INPUTS))}")


def check_dtype(name: str, array: object) -> None:
    """Raise TypeError unless this is an array of the input's dtype. Nothing is converted behind your back."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"input {name!r}: expected a numpy array, got {type(array).__name__}")
    if array.dtype.kind != "U" and not all(isinstance(item, str) for item in array.flat):
        raise TypeError(f"input {name!r}: expected strings, got {array.dtype}")


def check_shapes(shapes: Mapping[str, Sequence[int]]) -> None:
    """Raise ValueError unless the inputs' shapes fit the model."""
    for name, tensor in INPUTS.items():
        shape = shapes[name]
        if len(shape) != len(tensor.shape):
            raise ValueError(f"input {name!r}: the shape must be {show(tensor.shape)}, got {show(shape)}")
        for index, (size, allowed) in enumerate(zip(shape, tensor.shape, strict=True)):
            where = f"input {name!r}, dimension {index}"
            if isinstance(allowed, int):
                if size != allowed:
                    raise ValueError(f"{where}: must be {allowed}, got {size}")
                continue
            least, greatest = AXES[allowed]
            if not least <= size <= greatest:
                raise ValueError(f"{where} ({allowed}): must be {least} to {greatest}, got {size}")


def show(shape: Sequence[object]) -> str:
    """The shape as text: [batch, 4]."""
    return f"[{', '.join(map(str, shape))}]"


def one_line(error: Exception) -> str:
    """The error's message without line ends."""
    return " ".join(str(error).split()) or type(error).__name__


def open_session(path: Path, threads: int) -> tuple[Any, type[Exception]]:
    """Give an onnxruntime session, and the exception that it raises for values that the model refuses.

    Raises RuntimeError if the model cannot be loaded.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # without it, the import below sends telemetry
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads burn no CPU quota
    options.enable_mem_pattern = False  # shapes vary, and every shape would keep a plan
    options.log_severity_level = 4  # errors arrive as exceptions; once is enough
    providers = ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's exceptions have no base class of their own
        raise RuntimeError(f"cannot load {path}: {one_line(error)}") from error
    return session, InvalidArgument


def cpu_count(root: Path = Path("/")) -> int:
    """How many CPUs this process may use: its affinity mask, or the container's quota where that is less."""
    quotas = [float(len(os.sched_getaffinity(0)))]
    cgroup = root / "sys/fs/cgroup"
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):  # cgroup version 2, 1
        try:
            quota, period = " ".join((cgroup / file).read_text() for file in files).split()
            if quota not in ("max", "-1"):
                quotas.append(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):
            continue
    return max(1, math.ceil(min(quotas)))


def to_json(array: NDArray[Any]) -> Any:
    """Nested lists. JSON has no NaN and no infinities: "NaN", "Infinity" and "-Infinity" stand for them."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return array.tolist()
    words = array.astype(object)
    words[np.isnan(array)] = "NaN"
    words[array == np.inf] = "Infinity"
    words[array == -np.inf] = "-Infinity"
    return words.tolist()


if __name__ == "__main__":
    from commands import main

    sys.exit(main())
