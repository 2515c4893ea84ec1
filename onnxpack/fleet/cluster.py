"""A connection to a Dask cluster that others run: its workers, what they offer, and tasks on them.

Plain values and the names of importable functions are all that is sent. Dask's own configuration holds, as that of TLS.
"""

import importlib.metadata
import logging
import operator
import pkgutil
import platform
import queue
import threading
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnxpack import __version__
from onnxpack.core.errors import EngineError, SpecError, describe_error
from onnxpack.core.text import clean, plural

if TYPE_CHECKING:
    from distributed import Client, Future

SCHEME = "dask://"
TOPIC = "onnxpack"
"""The topic of Dask's that events of jobs are told under."""
_SECONDS = 10.0
"""How long a connection may take."""
_ANSWER_SECONDS = 60.0
"""How long an answer may take, that of all workers and that of a finished job included."""
_MOST_NAMED = 5
_LONGEST = 300


@dataclass(frozen=True)
class ClusterWorker:
    """A worker of the cluster, and what it offers."""

    address: str
    threads: int
    resources: Mapping[str, float] = field(default_factory=dict)


class Cluster:
    """A cluster that this process uses; each method that asks it raises ``EngineError`` if its scheduler is gone."""

    def __init__(self, client: "Client", url: str) -> None:
        self._client = client
        self.url = url
        self._found: dict[str, Future[Any]] = {}

    @property
    def alive(self) -> bool:
        """Return whether the connection to the scheduler has held since it was made."""
        return str(self._client.status) == "running"

    def list_workers(self) -> tuple[ClusterWorker, ...]:
        """Return the workers that the cluster has now."""
        found = self._ask(self._client.scheduler_info, n_workers=-1)["workers"]
        return tuple(
            ClusterWorker(address, int(facts["nthreads"]), facts.get("resources") or {})
            for address, facts in sorted(found.items())
        )

    def require_same_versions(self) -> None:
        """Make sure that every worker has this version of onnxpack and this Python: others could give other results.

        Raises:
            EngineError: one has not; the text names both.
        """
        asked = (
            ("onnxpack", __version__, self._ask_workers(importlib.metadata.version, "onnxpack")),
            ("Python", platform.python_version(), self._ask_workers(platform.python_version)),
        )
        wrong = {
            address: f"{what} {answer if isinstance(answer, str) else 'not at all'}, and this is {what} {wanted}"
            for what, wanted, answers in reversed(asked)
            for address, answer in answers.items()
            if answer != wanted
        }
        if wrong:
            told = [f"the worker {clean(address)} has {clean(words)}" for address, words in sorted(wrong.items())]
            shown = "; ".join(told[:_MOST_NAMED]) + ("; …" if len(told) > _MOST_NAMED else "")
            hint = f"give {plural(len(told), 'worker')} the environment that this command has, or stop them"
            raise EngineError(shown, hint)

    def listen(self, hear: Callable[[Any], None]) -> None:
        """Call ``hear``, in another thread, with each message that is told under the topic from now on."""
        self._ask(self._client.subscribe_topic, TOPIC, lambda event: hear(event[1]))

    def submit(self, function: str, request: bytes, key: str, needs: Mapping[str, float]) -> "Future[bytes]":
        """Have a worker that offers the resources ``needs`` call ``module:name`` with a request and the task's key.

        The scheduler, too, unpickles the functions of tasks. It need not have this package, so it is sent names of
        Python's own library alone, and a worker looks the function up.
        """
        submit = self._client.submit
        if function not in self._found:
            self._found[function] = submit(pkgutil.resolve_name, function, key=f"{key}-function", pure=False)
        found, resources = self._found[function], dict(needs) or None
        return submit(operator.call, found, request, key, key=key, resources=resources, pure=False)

    def gather(self, future: "Future[bytes]") -> bytes:
        """Return the result of a task that is finished; if its worker died since, it is done again before that."""
        result: bytes = self._ask(future.result)
        return result

    def close(self) -> None:
        """End the connection; what still runs for it is cancelled by the scheduler."""
        self._client.close(timeout=_SECONDS)

    def _ask_workers(self, function: Callable[..., str], *arguments: str) -> dict[str, Any]:
        answers: dict[str, Any] = self._ask(self._client.run, function, *arguments, on_error="return")
        return answers

    def _ask(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Call what waits for an answer, for a bounded time: a scheduler that hangs keeps its connections."""
        answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answers.put((function(*arguments, **named), None))
            except Exception as error:  # of sockets, of asyncio, of a closed client: each part of Dask has its own
                answers.put((None, error))

        threading.Thread(target=ask, daemon=True).start()
        try:
            answer, error = answers.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            error = TimeoutError(f"it did not answer within {_ANSWER_SECONDS:g} s")
        if error:
            raise make_lost_error(self.url, error)
        return answer


def connect(url: str) -> Cluster:
    """Connect to the scheduler at ``dask://host:port``.

    Raises:
        SpecError: the URL is none, or Dask is not installed.
        EngineError: no scheduler answers there.
    """
    address = read_address(url)
    try:
        import dask
        from distributed import Client
    except ImportError:
        hint = "install it: pip install 'onnxpack[dask]'"
        raise SpecError(f"`--scheduler {SCHEME}…` needs Dask, which is not installed", hint) from None
    # What it would say of lost connections is said by errors here, and of versions by a check of its own.
    for name in ("distributed", "tornado", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    dask.config.set({"distributed.comm.timeouts.connect": _SECONDS})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Cluster(Client(address, timeout=_SECONDS, set_as_default=False), url)
    except (OSError, TimeoutError, ValueError, RuntimeError, ImportError) as error:
        text = f"no scheduler of Dask answers at {clean(url)}: {describe_error(error, _LONGEST)}"
        raise EngineError(text, "start one with `dask scheduler`, or correct --scheduler") from None


def read_address(url: str) -> str:
    """Return Dask's own address for a URL; Dask adds the protocol that it is configured for.

    Raises:
        SpecError: it is not ``dask://host:port``.
    """
    host, _, port = url.removeprefix(SCHEME).rpartition(":")
    if not url.startswith(SCHEME) or not host or not port.isdecimal() or not 0 < int(port) < 2**16 or "/" in host:
        raise SpecError(f"'{clean(url)}' is no scheduler", f"write {SCHEME}host:port, as {SCHEME}10.0.0.5:8786")
    return f"{host}:{port}"


def make_lost_error(url: str, why: object = None) -> EngineError:
    """Return the error of a scheduler that is gone."""
    words = f": {clean(describe_error(why, _LONGEST))}" if isinstance(why, BaseException) else ""
    return EngineError(
        f"the scheduler at {clean(url)} is gone{words}",
        "start it again and build again: what was finished is not built twice",
    )
