"""Nothing that was pruned is missed: every variant of the generated module runs on what is left, and is traced.

The wheels are those installed here. A child process sees the standard library, its own modules and the pruned layer,
no other package. It notes each module and file that it asks for in vain, and none of these may be one that went.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import layer_trace
import numpy as np
import pytest
from bundle_examples import (
    BATCHING,
    IRIS,
    MODULES,
    ODD,
    PICTURES,
    SAVERS,
    STEPS,
    TABLE,
    TEXTS,
    TRANSACTIONS,
    WORKERS,
    write_app,
    write_modules,
)
from PIL import Image
from serving import wait_until

from onnxpack.bundle.codecs import replace_codecs
from onnxpack.bundle.layer import LayerFile, Needs
from onnxpack.bundle.prune import prune
from onnxpack.bundle.reach import name_module
from onnxpack.bundle.render import ModuleView, list_template_roots, render_step_modules
from onnxpack.conformance.suite import Request, check_server, is_conformant
from onnxpack.spec.steps import PreprocessStep

WHEELS = ("numpy", "onnxruntime", "httptools", "orjson", "grpcio", "typing-extensions")
SERVERS = {
    "iris": IRIS,
    "transactions": TRANSACTIONS,
    "odd": ODD,
    "table": replace(TABLE, server="http"),
    "batching": BATCHING,
    "workers": WORKERS,
    "grpc": replace(TRANSACTIONS, server="http+grpc"),
    "batching over grpc": replace(BATCHING, server="http+grpc"),
}


_STEPS = (
    PreprocessStep("decode", "image", formats=("jpeg", "png", "webp", "bmp")),
    PreprocessStep("orient", "image"),
    PreprocessStep("resize", "image", size=(8, 8), fit="contain"),
    PreprocessStep("resize", "image", size=(4, 6), method="area", like="opencv"),
)
ANY_PICTURE = replace(PICTURES, intakes=(replace(PICTURES.intakes[0], steps=_STEPS),))


@dataclass(frozen=True)
class Layer:
    """A pruned layer, with the modules and files that went."""

    folder: Path
    modules: frozenset[str]
    files: frozenset[str]


@pytest.fixture(scope="session")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Layer:
    return make_layer(tmp_path_factory.mktemp("layer") / "lib", WHEELS, {})


def make_layer(folder: Path, wheels: tuple[str, ...], steps: dict[str, str]) -> Layer:
    """Fill a folder as a layer for images that have these modules of steps."""
    copy_wheels(folder, wheels)
    needs = Needs(list_template_roots(steps))
    went = [file for file in replace_codecs(folder, prune(folder, needs), needs) if not file.kept]
    return Layer(folder, frozenset(find_modules(went)), frozenset(file.path for file in went))


def copy_wheels(folder: Path, wheels: tuple[str, ...]) -> None:
    """Fill a folder with what wheels that are installed here hold, as uv would."""
    for name in wheels:
        for file in distribution(name).files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file.locate(), target)


def find_modules(files: list[LayerFile]) -> Iterator[str]:
    for file in files:
        if file.path.endswith((".py", ".so")):
            yield name_module(file.path)


@dataclass(frozen=True)
class Traced:
    """How to run Python on a layer."""

    layer: Layer
    app: Path
    notes: Path

    def command(self, code: str, *arguments: str) -> list[str]:
        return [sys.executable, "-S", "-c", f"import layer_trace; layer_trace.start()\n{code}", *arguments]

    def variables(self) -> dict[str, str]:
        places = (self.app, self.layer.folder, Path(layer_trace.__file__).parent)
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": ":".join(map(str, places)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "ORT_DISABLE_TELEMETRY": "1",
            layer_trace.PLACE: str(self.layer.folder),
            layer_trace.NOTES: str(self.notes),
        }

    def run(self, code: str, *arguments: str, status: int = 0) -> str:
        command = self.command(code, *arguments)
        done = subprocess.run(command, env=self.variables(), cwd=self.app, capture_output=True, text=True, timeout=60)
        assert done.returncode == status, done.stderr
        return done.stdout

    def list_missed(self) -> list[str]:
        """What was asked for in vain, and was there before it was pruned."""
        lines = set(self.notes.read_text().splitlines()) if self.notes.exists() else set()
        gone = {f"import {name}" for name in self.layer.modules} | {f"open {path}" for path in self.layer.files}
        return sorted(lines & gone)


@pytest.fixture
def traced(layer: Layer, tmp_path: Path) -> Traced:
    (tmp_path / "app").mkdir()
    return Traced(layer, tmp_path / "app", tmp_path / "notes")


def write_image(folder: Path, view: ModuleView) -> None:
    SAVERS[view.name](folder / "model.onnx")
    write_modules(folder, replace(view, version="1"))


@contextlib.contextmanager
def serve(traced: Traced, view: ModuleView) -> Iterator[list[int]]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        ports = [one.getsockname()[1] for one in sockets]
    words = ["--host", "127.0.0.1", "--port", str(ports[0])]
    words += ["--grpc-port", str(ports[1])] if view.has_grpc else []
    command = traced.command("import runpy; runpy.run_module('server', run_name='__main__', alter_sys=True)", *words)
    with subprocess.Popen(
        command, env=traced.variables(), cwd=traced.app, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            wait_until(lambda: listens(ports[0]) or process.poll() is not None)
            yield ports
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=30)
            assert process.returncode == 0, errors
        finally:
            process.kill()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_misses_nothing_whatever_it_is_asked(traced: Traced, name: str) -> None:
    view = SERVERS[name]
    write_image(traced.app, view)
    with serve(traced, view) as (port, grpc_port):
        url = f"http://127.0.0.1:{port}"
        request = Request(url, grpc=f"127.0.0.1:{grpc_port}" if view.has_grpc else None)
        results = check_server(request, lambda result: None)[1]
        for path in ("/", "/openapi.json", "/metrics"):
            with urlopen(f"{url}{path}") as answer:
                assert answer.status == 200
    assert is_conformant(results)
    assert traced.list_missed() == []


@pytest.mark.parametrize("name", [name for name in SAVERS if name in MODULES])
def test_the_command_line_misses_nothing(traced: Traced, name: str) -> None:
    view = (MODULES | STEPS)[name]
    write_image(traced.app, view)
    inputs = traced.app.parent / "inputs.npz"
    np.savez(inputs, **make_inputs(view))
    main = "import runpy; runpy.run_module('inference', run_name='__main__', alter_sys=True)"
    document = json.loads(traced.run(main, "predict", "--input", str(inputs)))
    assert list(document) == [output.name for output in view.outputs]
    for ending in ("npz", "json"):
        traced.run(main, "predict", "--input", str(inputs), "--output", str(inputs.with_name(f"out.{ending}")))
    traced.run(main, "bench", "--seconds", "0.1", "--json")
    traced.run(main, "predict", "--input", str(traced.app / "model.onnx"), status=2)
    traced.run("import inference; list(inference.Model().map([]))")
    assert traced.list_missed() == []


def make_inputs(view: ModuleView) -> dict[str, np.ndarray]:
    opt = {axis.name: axis.opt for axis in view.axes}
    shapes = {info.name: [opt.get(size, size) for size in info.shape] for info in view.inputs}
    # A word that a declared column knows.
    return {
        info.name: np.full(shapes[info.name], "Lima")
        if info.dtype == "string"
        else np.zeros(shapes[info.name], info.dtype)
        for info in view.inputs
    }


@pytest.fixture
def pictures(tmp_path: Path) -> Traced:
    """A layer, and the modules, of an image that takes pictures of all formats."""
    app = tmp_path / "app"
    app.mkdir()
    write_modules(app, ANY_PICTURE)
    layer = make_layer(tmp_path / "lib", ("numpy", "pillow"), render_step_modules(ANY_PICTURE))
    return Traced(layer, app, tmp_path / "notes")


def test_pictures_miss_nothing_and_other_formats_are_refused(pictures: Traced) -> None:
    folder = pictures.app.parent
    exif = Image.Exif()
    exif[0x112] = 6
    options: dict[str, dict[str, Any]] = {"a.jpg": {"exif": exif}, "lzw.tif": {"compression": "tiff_lzw"}}
    taken, refused = ("a.jpg", "a.png", "a.webp", "a.bmp"), ("a.tif", "lzw.tif", "a.jp2", "a.gif", "a.ppm")
    for name in (*taken, *refused):
        Image.new("RGB", (9, 7), "teal").save(folder / name, **options.get(name, {}))
    code = """
import sys
from pathlib import Path
from typing import Any
from pictures import read_pictures
for path in sys.argv[1:]:
    try:
        print(read_pictures("image", [Path(path).read_bytes()]).shape)
    except ValueError as error:
        print("refused" if "picture 0" in str(error) or "picture 1" in str(error) else error)
"""
    lines = pictures.run(code, *(str(folder / name) for name in (*taken, *refused))).splitlines()
    assert lines == ["(1, 4, 6, 3)"] * len(taken) + ["refused"] * len(refused)
    assert pictures.list_missed() == []
    pictures.run("import PIL.GifImagePlugin", status=1)
    assert pictures.list_missed() == ["import PIL.GifImagePlugin"]


def test_texts_miss_nothing(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    write_app(app, "texts")
    texts = Traced(
        make_layer(tmp_path / "lib", ("numpy", "tokenizers"), render_step_modules(TEXTS)), app, tmp_path / "notes"
    )
    code = "import texts; print(texts.tokenize('text', ['one two', ''], None).arrays['input_ids'].ndim)"
    assert texts.run(code) == "2\n"
    assert texts.list_missed() == []


@pytest.mark.parametrize("code", ["import numpy.random", "import numpy; numpy.fft", "from numpy import testing"])
def test_a_module_that_went_is_noticed_where_it_is_missed(traced: Traced, code: str) -> None:
    traced.run(code, status=1)
    assert traced.list_missed()


def test_a_file_that_went_is_noticed_where_it_is_missed(traced: Traced) -> None:
    traced.run("import numpy, pathlib\nopen(pathlib.Path(numpy.__file__).with_name('py.typed'))", status=1)
    assert traced.list_missed() == ["open numpy/py.typed"]


def test_numpy_without_its_unused_parts_works(traced: Traced) -> None:
    code = "import numpy as np; a = np.eye(3, dtype='f8'); print(float((a @ a).sum()), np.unique([2, 1]).tolist())"
    assert traced.run(code) == "3.0 [1, 2]\n"
    assert traced.list_missed() == []
