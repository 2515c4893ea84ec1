"""The task that lists the files in which an ONNX model keeps its data."""

from dataclasses import dataclass
from pathlib import Path

from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class ExternalData:
    """The paths of a model's data, relative to its folder, in alphabetical order."""

    locations: tuple[str, ...]


@dataclass(frozen=True)
class ListExternalData(Task[ExternalData]):
    """Read which files an ONNX model names as the places of its tensors."""

    NAME = "external"
    path: Path

    def run(self, folder: Path, say: Say) -> ExternalData:
        """Read the model without its data; what is no model names none, which its export tells."""
        import onnx

        from onnxpack.graph.external_data import iterate_external_tensors

        try:
            model = onnx.load(self.path, load_external_data=False)
            found = {entries["location"] for _, entries in iterate_external_tensors(model)}
        except Exception:  # protobuf's decode errors have no common base
            return ExternalData(())
        return ExternalData(tuple(sorted(found)))
