"""Edit models whose weights stay on disk, and move or copy the weights' bytes as they are.

Protobuf ends at 2 GiB, and weights that are loaded to be written again would be in memory twice.
"""

import os
from collections.abc import Iterator
from math import prod
from pathlib import Path

import onnx

EXTERNAL_DATA_OVER = 1_500_000_000
"""Bytes; protobuf itself ends at 2 GiB."""
_ALIGNMENT = 4096  # a page, so that a runtime may map each tensor
_HALF_BYTES = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1)


def iterate_external_tensors(model: onnx.ModelProto) -> Iterator[tuple[onnx.TensorProto, dict[str, str]]]:
    """Yield every tensor whose data is in another file, with the entries that say where."""
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor, {entry.key: entry.value for entry in tensor.external_data}


def stays_outside(model: onnx.ModelProto) -> bool:
    """Return whether the external data is so large that it is never loaded here."""
    return sum(map(count_bytes, (tensor for tensor, _ in iterate_external_tensors(model)))) > EXTERNAL_DATA_OVER


def count_bytes(tensor: onnx.TensorProto) -> int:
    """Return the number of bytes that the tensor's dtype and shape need."""
    whole = 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    # numpy keeps 4-bit values in a byte each; ONNX packs two into one.
    bits = 4 if tensor.data_type in _HALF_BYTES else whole
    elements = int(prod(tensor.dims))
    return -(-elements * bits // 8)


def find_wrong_lengths(model: onnx.ModelProto, folder: Path) -> list[str]:
    """Describe external data whose length does not match the tensor's shape."""
    found = []
    for tensor, entries in iterate_external_tensors(model):
        rest = (folder / entries["location"]).stat().st_size - int(entries.get("offset") or 0)
        length, wanted = int(entries.get("length") or rest), count_bytes(tensor)
        if length != wanted:
            found.append(f"the data of '{tensor.name}' has {length} bytes, its shape needs {wanted}")
    return found


def link_data(model: onnx.ModelProto, source: Path, destination: Path) -> None:
    """Link the external data of a model in ``source`` into ``destination``, under the same names."""
    for location in {entries["location"] for _, entries in iterate_external_tensors(model)}:
        link = destination / location
        link.parent.mkdir(parents=True, exist_ok=True)
        # A link: the bytes are copied once, when the finished file is written.
        link.symlink_to((source / location).resolve())


def keep_places(converted: onnx.ModelProto, original: onnx.ModelProto) -> None:
    """Copy from the original to the converted model where tensors' data is; onnx's converter forgets it."""
    known = {tensor.name: tensor for tensor, _ in iterate_external_tensors(original)}
    for tensor in converted.graph.initializer:
        if tensor.name in known:
            tensor.CopyFrom(known[tensor.name])


def save_outside(model: onnx.ModelProto, source: Path, destination: Path) -> None:
    """Write a model from ``source`` to ``destination``, with all its external data in one file beside it."""
    data = destination.with_name(f"{destination.name}.data")
    tensors = list(iterate_external_tensors(model))
    files = {source / entries["location"] for _, entries in tensors}
    (first, *others) = files
    if not others and not first.is_symlink():
        # One regular file that nobody else needs: moving it copies no bytes.
        first.rename(data)
        for tensor, entries in tensors:
            _point_to(tensor, data.name, int(entries.get("offset") or 0))
    else:
        _gather(tensors, source, data)
    onnx.save(model, destination)


def open_model(path: Path) -> onnx.ModelProto:
    """Load a model that this program made; its external data is loaded unless that is very large."""
    model = onnx.load(path, load_external_data=False)
    if not stays_outside(model):
        onnx.load_external_data_for_model(model, str(path.parent))
    return model


def save_copy(model: onnx.ModelProto, source: Path, destination: Path) -> None:
    """Write and check an edited model from ``open_model``; data that stayed outside is copied from ``source``."""
    if stays_outside(model):
        _gather(list(iterate_external_tensors(model)), source, destination.with_name(f"{destination.name}.data"))
        onnx.save(model, destination)
        onnx.checker.check_model(str(destination))
        return
    onnx.checker.check_model(model)
    large = model.ByteSize() > EXTERNAL_DATA_OVER
    onnx.save(model, destination, save_as_external_data=large, location=f"{destination.name}.data")


def _gather(tensors: list[tuple[onnx.TensorProto, dict[str, str]]], source: Path, data: Path) -> None:
    placed: dict[tuple[str, int], int] = {}  # tied weights stay tied
    with data.open("wb") as output:
        for tensor, entries in tensors:
            start = int(entries.get("offset") or 0)
            place = (entries["location"], start)
            if place not in placed:
                # Rounded up to the next page.
                placed[place] = -(-output.tell() // _ALIGNMENT) * _ALIGNMENT
                output.seek(placed[place])
                _copy(source / entries["location"], start, count_bytes(tensor), output.fileno())
                output.seek(placed[place] + count_bytes(tensor))
            _point_to(tensor, data.name, placed[place])


def _copy(path: Path, start: int, length: int, output: int) -> None:
    """Copy bytes inside the kernel, without a way through Python."""
    with path.open("rb") as stream:
        stream.seek(start)
        while length:
            # Linux moves at most 2 GiB in one call.
            copied = os.sendfile(output, stream.fileno(), None, min(length, 1 << 30))
            if not copied:
                raise OSError(f"'{path.name}' ends early")
            length -= copied


def _point_to(tensor: onnx.TensorProto, location: str, offset: int) -> None:
    del tensor.external_data[:]
    for key, value in (("location", location), ("offset", offset), ("length", count_bytes(tensor))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, str(value)
