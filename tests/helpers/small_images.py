"""The smallest base and context that an engine makes an image of."""

import io
import json
import tarfile
from pathlib import Path

from bundle_examples import DOCKERFILES

from onnxpack.bundle.context import Context
from onnxpack.oci.manifests import compute_digest

BASE = "registry.invalid/python:3.11"


def save_base(path: Path, **config: object) -> Path:
    """Write a base of one file, as `docker save` does."""
    layer = make_tar({"usr/bin/python3": b"elf"})
    values = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/bin"], "Cmd": ["sh"]} | config,
        "rootfs": {"type": "layers", "diff_ids": [compute_digest(layer)]},
        "history": [{"created_by": "ENV a=b", "empty_layer": True}, {"created_by": "ADD base"}],
    }
    manifest = [{"Config": "c.json", "RepoTags": [BASE], "Layers": ["l.tar"]}]
    parts = {"l.tar": layer, "c.json": json.dumps(values).encode(), "manifest.json": json.dumps(manifest).encode()}
    path.write_bytes(make_tar(parts))
    return path


def make_tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def make_context(folder: Path, model: str = "model") -> Context:
    for name, text in (("runtime/opt/lib/numpy.py", "numpy"), ("model/opt/app/model.onnx", model)):
        path = folder / "rootfs" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    return Context(folder, "k" * 64, "1.0", DOCKERFILES["iris"])
