"""What ``onnxpack init`` learns from a .keras file: a zip archive whose ``config.json`` says what the layers take.

The file is read without Keras, which a build puts into an environment of its own. The format is that of Keras 3,
https://keras.io/api/models/model_saving_apis/.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnxpack.core.errors import SourceError, SpecError
from onnxpack.core.text import clean
from onnxpack.inspection.draft import Draft
from onnxpack.inspection.learned import finish

_CONFIG, _METADATA = "config.json", "metadata.json"
_MOST_BYTES = 32 * 2**20
"""The largest configuration that is read; that of a network of a thousand layers has 1 MB."""
_DTYPES = ("float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool", "string")


def look_at_keras_file(grown: Draft, destination: Path) -> Draft:
    """Learn the inputs of a Keras model from its configuration."""
    path = destination.parent / grown.fields["model"]["path"]
    config, metadata = _read(path)
    if "inputs" not in grown.fields:
        inputs = dict(_list_inputs(config))
        if not inputs:
            raise SpecError(
                f"'{path.name}' does not tell the shapes of its inputs", "give them with `--input x:float32:batch,4`"
            )
        grown.fields["inputs"] = inputs
    version = clean(metadata.get("keras_version", "?"), 30)
    grown.note("model", "path", text=f"a {clean(config.get('class_name', 'model'), 60)}, saved by Keras {version}")
    finish(grown, [])
    return grown


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the configuration and the metadata in a file.

    Raises:
        SourceError: it is no .keras file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = tuple(_read_member(archive, name) for name in (_CONFIG, _METADATA))
    except Exception as error:  # a damaged archive fails in a dozen ways
        raise SourceError(
            f"'{path.name}' is no .keras file: {clean(error)}", "save it again with `model.save('NAME.keras')`"
        ) from None
    return found[0], found[1]


def _read_member(archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
    member = archive.getinfo(name)
    if member.file_size > _MOST_BYTES:
        raise ValueError(f"its {name} has {member.file_size} bytes")
    document = json.loads(archive.read(member))
    if not isinstance(document, dict):
        raise ValueError(f"its {name} holds no object")
    return document


def _list_inputs(config: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name, dtype and shape of each input, in the model's order."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    found = {}
    for layer in layers if isinstance(layers, list) else []:
        if isinstance(layer, dict) and layer.get("class_name") == "InputLayer" and isinstance(layer["config"], dict):
            settings = layer["config"]
            shape = settings.get("batch_shape", settings.get("batch_input_shape"))
            if isinstance(shape, list):
                name = str(settings.get("name", "x"))
                found[name] = {"dtype": _find_dtype(settings.get("dtype")), "shape": _name_axes(shape)}
    order = [str(one[0]) for one in _list_references(inner.get("input_layers") if isinstance(inner, dict) else None)]
    names = order if set(order) == set(found) else list(found)
    yield from ((name, found[name]) for name in names)


def _list_references(value: Any) -> list[list[Any]]:
    """Return the references to layers, each [name, node, tensor]; one input stands there alone, or in a list."""
    if not isinstance(value, list) or not value:
        return []
    return [value] if isinstance(value[0], str) else [one for one in value if isinstance(one, list) and one]


def _find_dtype(value: Any) -> str:
    """Return an input's dtype, which stands there as a word or as the configuration of a policy."""
    if isinstance(value, dict):
        inner = value.get("config")
        value = inner.get("name") if isinstance(inner, dict) else None
    return value if value in _DTYPES else "float32"


def _name_axes(shape: list[Any]) -> list[int | str]:
    """Return a shape with a name for each open axis; the first is that of rows."""
    names = ("batch" if index == 0 else f"axis_{index}" for index in range(len(shape)))
    return [size if isinstance(size, int) else name for size, name in zip(shape, names, strict=True)]
