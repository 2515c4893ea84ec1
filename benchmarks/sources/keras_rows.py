"""Exports one Keras architecture, its batch fixed or dynamic, at every opset; without arguments, lists them.

It runs itself again in the environment that a build makes for Keras.
"""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OPSETS = (13, 17, 20, 18)
"""The last is tf2onnx's highest."""
SHAPES = {
    "mlp": [16], "cnn": [32, 32, 3], "conv1d": [24, 4], "lstm": [12, 4], "bidirectional_gru": [12, 4],
    "attention": [12, 8], "mobilenet_v2": [64, 64, 3], "efficientnet_b0": [64, 64, 3],
}  # fmt: skip
"""By the factories of ``keras_models``: what is behind the batch axis."""
INSIDE = "--inside"


def main() -> None:
    """Arguments: the factory, its exporter, ``static`` or ``dynamic``, and the opsets; a JSON line for each."""
    if not sys.argv[1:]:
        print(json.dumps([[name, "tf2onnx", OPSETS] for name in SHAPES]))
    elif sys.argv[1] == INSIDE:
        _inside(*sys.argv[2:])
    else:
        from onnxpack.cache.store import Store, find_default_root
        from onnxpack.cli.progress import PlainProgress
        from onnxpack.spec.model import Model
        from onnxpack.worker.environments import provide_environment

        python = provide_environment(Model("keras", path="m.keras"), Store(find_default_root()), PlainProgress())
        subprocess.run([str(python), __file__, INSIDE, *sys.argv[1:]], check=True)


def _inside(name: str, exporter: str, axes: str, *opsets: str) -> None:
    from exported import row

    import onnxpack.sources.keras  # noqa: F401 - before Keras, as it sets what TensorFlow reads when it is imported

    for opset in map(int, opsets):
        about = {"source": "keras", "model": name, "exporter": exporter, "axes": axes, "opset": opset}
        print(json.dumps(row(about, partial(_spec, name, axes, opset))), flush=True)


def _spec(name: str, axes: str, opset: int, folder: Path) -> dict[str, Any]:
    (folder / "models.py").write_bytes((HERE / "keras_models.py").read_bytes())
    batch = 4 if axes == "static" else "batch"
    spec: dict[str, Any] = {
        "model": {"framework": "keras", "factory": f"models.py:{name}", "weights": "none"},
        "inputs": {"x": {"dtype": "float32", "shape": [batch, *SHAPES[name]]}},
        "opset": opset,
    }
    return spec | ({"dynamic_axes": {"batch": [1, 8]}} if axes == "dynamic" else {})


if __name__ == "__main__":
    main()
