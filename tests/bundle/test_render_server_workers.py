"""Several processes that serve one port: what they share, and what becomes of it when they die."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from bundle_examples import WORKERS, save_iris, write_modules
from serving import Server, all_of, copy_without_model, post, start, wait_until

from onnxpack.bundle.render import ModuleView

INFER = "/v2/models/iris/infer"
INPUTS = [{"name": "float_input", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]
GOOD = json.dumps({"inputs": INPUTS}).encode()
PATIENT = "import supervisor; supervisor.QUICK_SECONDS = 0"  # no death is a quick one
QUICK = "import supervisor; supervisor.QUICK_SECONDS = 600"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("workers"), WORKERS)


@pytest.fixture(scope="module")
def cold_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A server that asks itself nothing before its port opens, for tests that have requests hang."""
    return render(tmp_path_factory.mktemp("cold"), replace(WORKERS, warmup=False))


def render(folder: Path, view: ModuleView) -> Path:
    save_iris(folder / "model.onnx")
    write_modules(folder, view)
    return folder


@contextmanager
def serving_with_workers(folder: Path, change: str = "", workers: int = 2, **variables: str) -> Iterator[Server]:
    """A server all of whose workers are ready, for a test that may end it; none of its processes outlives this."""
    server = start(folder, change, **variables)
    try:
        if workers:
            wait_until(lambda: server.process.poll() is not None or count_ready(server) == workers)
        yield server
    finally:
        left = find_workers(server)
        server.process.kill()
        server.process.wait()
        for process in left:
            wait_until(lambda process=process: not is_alive(process))
        assert server.process.stderr is not None
        server.process.stderr.close()


def find_workers(server: Server) -> list[int]:
    """Return the process ids of a server's workers."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def count_ready(server: Server) -> int:
    """Return how many workers wait for connections."""
    return sum(map(accepts, find_workers(server)))


def accepts(process: int) -> bool:
    """Return whether the port is among what a process's event loop waits for, besides a socket of the loop's own."""
    try:
        files = {int(path.name): str(path.readlink()) for path in Path(f"/proc/{process}/fd").iterdir()}
        loops = [fd for fd, target in files.items() if target == "anon_inode:[eventpoll]"]
        lines = [line for fd in loops for line in Path(f"/proc/{process}/fdinfo/{fd}").read_text().splitlines()]
    except OSError:
        return False
    waited = {int(line.split()[1]) for line in lines if line.startswith("tfd:")}
    return sum(files.get(fd, "").startswith("socket:") for fd in waited) > 1


def stop(server: Server, number: int = signal.SIGTERM) -> tuple[int, str]:
    """Tell a server to stop; give its exit status and what it logged."""
    server.process.send_signal(number)
    _, errors = server.process.communicate(timeout=60)
    return server.process.returncode, errors


def infer(server: Server) -> int:
    return server.ask("POST", INFER, GOOD)[0]


class Load:
    """Clients that ask again and again, each time on a new connection."""

    def __init__(self, server: Server, clients: int = 3) -> None:
        self.answers: list[int] = []
        self.failures: list[Exception] = []
        self._server = server
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._ended.is_set():
            try:
                self.answers.append(infer(self._server))
            except (OSError, ValueError) as error:
                self.failures.append(error)
                time.sleep(0.01)

    def wait_for(self, more: int) -> None:
        target = len(self.answers) + more
        wait_until(lambda: len(self.answers) >= target)


def test_workers_share_the_port_and_add_up_what_they_count(app: Path) -> None:
    with serving_with_workers(app) as server:
        first, second = find_workers(server)
        with ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(40)]
            for client in clients:
                client.sendall(post(GOOD, path=INFER))
            for client in clients:
                assert client.recv(65536).startswith(b"HTTP/1.1 200")
            shares = [len(list(Path(f"/proc/{process}/fd").iterdir())) for process in (first, second)]
            assert abs(shares[0] - shares[1]) <= 4, "each takes its part of the connections"
            wait_until(lambda: server.metric("onnxpack_connections") == 41)
        for _ in range(5):
            assert server.metric('onnxpack_requests_total{code="200"}') >= 40
        wait_until(lambda: server.metric("onnxpack_rows_total") == 40)  # each worker adds up twice a second
        status, statistics = server.ask("GET", "/v2/models/iris/stats")
        assert (status, statistics["model_stats"][0]["inference_count"]) == (200, 40)
        memory = sum(
            int(Path(f"/proc/{process}/status").read_text().split("VmRSS:")[1].split()[0]) * 1024
            for process in (first, second)
        )
        assert server.metric("process_resident_memory_bytes") == pytest.approx(memory, rel=0.1)
        assert server.metric("process_cpu_seconds_total") > 0.2
        assert server.metric("onnxpack_ready") == 1
        status, errors = stop(server)
    assert status == 0
    assert sorted(errors.splitlines()) == [
        f"iris 1.0.0: worker {number} of 2, port {server.port}, {max(1, len(os.sched_getaffinity(0)) // 2)} threads"
        for number in (1, 2)
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_dies_under_load_is_started_again(app: Path, number: signal.Signals) -> None:
    with serving_with_workers(app, PATIENT) as server:
        with Load(server) as load:
            load.wait_for(20)
            victim, other = find_workers(server)
            answered = server.metric('onnxpack_requests_total{code="200"}')
            os.kill(victim, number)
            load.wait_for(50)
            wait_until(lambda: victim not in find_workers(server) and count_ready(server) == 2)
            assert other in find_workers(server)
            load.wait_for(20)
        assert set(load.answers) <= {200, 503}
        assert load.answers.count(503) == 0 or number == signal.SIGTERM
        assert len(load.failures) <= 6, "only what the dead worker had taken is lost"
        assert server.metric('onnxpack_requests_total{code="200"}') >= answered + 70
        wait_until(lambda: server.metric("onnxpack_connections") == 1)
        status, errors = stop(server)
    assert status == 0
    how = "ended with status 0" if number == signal.SIGTERM else f"was killed by {number.name}"
    assert f"iris: worker 1 (process {victim}) {how} after " in errors
    assert "it is started again" in errors


def test_a_worker_that_dies_soon_twice_ends_all(app: Path) -> None:
    with serving_with_workers(app, QUICK) as server:
        victim, other = find_workers(server)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in find_workers(server) and count_ready(server) == 2)
        [second] = set(find_workers(server)) - {other}
        os.kill(second, signal.SIGKILL)
        _, errors = server.process.communicate(timeout=30)
        assert server.process.returncode == 1
        assert not is_alive(other)
        assert not server.listens()
    assert f"worker 1 (process {second}) was killed by SIGKILL after " in errors
    assert "soon for the second time: all end" in errors


def test_a_model_that_cannot_be_loaded_is_told_once(app: Path, tmp_path: Path) -> None:
    copy_without_model(app, tmp_path)
    with serving_with_workers(tmp_path, workers=0) as server:
        _, errors = server.process.communicate(timeout=30)
        assert server.process.returncode == 1
    assert errors.startswith("iris: cannot load ")
    assert errors.count("\n") == 1


def test_workers_that_are_killed_while_they_load_end_all(app: Path) -> None:
    change = "import serving, os, signal\nserving.load = lambda: os.kill(os.getpid(), signal.SIGKILL)"
    with serving_with_workers(app, change, workers=0) as server:
        _, errors = server.process.communicate(timeout=30)
        assert server.process.returncode == 1
    assert errors.count("was killed by SIGKILL") == 2


def test_a_port_in_use_is_told_once(app: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-B", "-m", "server", "--host", "127.0.0.1", "--port", str(port)]
        done = subprocess.run(command, cwd=app, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (1, f"iris: cannot listen on port {port}: Address already in use\n")


def test_the_port_opens_when_the_first_worker_is_ready(app: Path, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    change = f"""
import serving, os, time
quick = serving.load
def load():
    while not os.path.exists({str(gate)!r}):
        time.sleep(0.01)
    return quick()
serving.load = load
"""
    starting = threading.Thread(target=lambda: found.append(start(app, change)))
    found: list[Server] = []
    starting.start()
    try:
        time.sleep(1.5)
        assert not found, "the port is closed while the first worker loads"
        gate.touch()
        starting.join()
        [server] = found
        assert infer(server) == 200
        assert stop(server)[0] == 0
    finally:
        gate.touch()
        starting.join()
        found[0].process.kill()
        found[0].process.communicate()


def test_sigterm_under_load_loses_nothing_that_was_accepted(cold_app: Path) -> None:
    change = """
import app, time
quick = app.protocol.read
def slow(*arguments):
    time.sleep(1.5)  # for longer than the figures of other workers are old
    return quick(*arguments)
app.protocol.read = slow
"""
    with serving_with_workers(cold_app, change) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.connect()) for _ in range(8)]
        for client in clients:
            client.sendall(post(GOOD, path=INFER))
        wait_until(lambda: server.metric("onnxpack_running_requests") + server.metric("onnxpack_queue_requests") == 8)
        workers = find_workers(server)
        server.process.send_signal(signal.SIGTERM)
        for process in workers:  # as systemd does it: to all processes
            os.kill(process, signal.SIGTERM)
        assert [all_of(client).startswith(b"HTTP/1.1 200") for client in clients] == [True] * 8
        _, errors = server.process.communicate(timeout=30)
        assert server.process.returncode == 0, errors
        assert not any(map(is_alive, workers))


HANG = """
import app, threading
app.protocol.read = lambda *_: threading.Event().wait()
"""


def test_a_second_signal_ends_all_at_once(cold_app: Path) -> None:
    with serving_with_workers(cold_app, HANG) as server, server.connect() as client:
        client.sendall(post(GOOD, path=INFER))
        wait_until(lambda: server.metric("onnxpack_running_requests") == 1)
        workers = find_workers(server)
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: server.ask("GET", "/v2/health/ready") == (503, {"ready": False}))
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(5) == 0
        assert not any(map(is_alive, workers))


def test_workers_that_do_not_drain_are_cut(cold_app: Path) -> None:
    change = HANG + "app.DRAIN_SECONDS = 0.5"
    with serving_with_workers(cold_app, change) as server, server.connect() as client:
        client.sendall(post(GOOD, path=INFER))
        wait_until(lambda: server.metric("onnxpack_running_requests") == 1)
        status, errors = stop(server)
    assert status == 0
    assert "1 requests are unanswered after 0.5 seconds" in errors


def test_workers_that_hang_are_killed(app: Path) -> None:
    change = "import supervisor; supervisor.STOP_SECONDS = 0.5"
    with serving_with_workers(app, change) as server:
        victim, _ = find_workers(server)
        os.kill(victim, signal.SIGSTOP)
        status, errors = stop(server)
        assert not is_alive(victim)
    assert status == 1
    assert "iris: 1 workers did not stop in 0.5 seconds" in errors


def test_no_worker_outlives_the_supervisor(app: Path) -> None:
    with serving_with_workers(app) as server:
        workers = find_workers(server)
        assert len(workers) == 2
        server.process.kill()
        wait_until(lambda: not any(map(is_alive, workers)))


def test_sigterm_while_workers_load_ends_all(app: Path) -> None:
    slow = "import time, serving, server\nserving.load = lambda: time.sleep(600)\nserver.main()"
    process = subprocess.Popen([sys.executable, "-B", "-c", slow], cwd=app, stderr=subprocess.PIPE, text=True)
    server = Server(process, 0)
    try:
        wait_until(lambda: len(find_workers(server)) == 1)
        status, errors = stop(server)
    finally:
        process.kill()
        process.communicate()
    assert (status, errors) == (0, "")


def test_what_the_supervisor_says_is_json_in_a_log_of_requests(app: Path) -> None:
    with serving_with_workers(app, PATIENT, ONNXPACK_LOG="requests") as server:
        victim, _ = find_workers(server)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: victim not in find_workers(server) and count_ready(server) == 2)
        assert infer(server) == 200
        status, errors = stop(server)
    entries = [json.loads(line) for line in errors.splitlines()]
    assert status == 0
    assert any(f"process {victim}) was killed by SIGKILL" in entry["message"] for entry in entries)
    assert {"time", "level", "message"} <= set.intersection(*map(set, entries))


def test_a_row_holds_what_a_worker_counts(load: Callable[..., ModuleType], app: Path) -> None:
    metrics, supervisor = load(app, "metrics"), load(app, "supervisor")
    assert metrics.FIGURES.itemsize <= supervisor.ROW
    counts = [metrics.FIGURES.fields[name][1] for name in ("answers", "latencies", "cpu_seconds", "started")]
    assert min(counts) == supervisor.NOW
    gauges = ("waiting", "running", "body_bytes", "connections", "ready", "memory", "files")
    assert all(metrics.FIGURES.fields[name][1] < supervisor.NOW for name in gauges)
