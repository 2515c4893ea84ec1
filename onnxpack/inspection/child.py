"""Tasks that open files of unknown origin to look at them, each in a child process of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onnxpack.inspection.draft import Draft
from onnxpack.spec.load import SpecFile
from onnxpack.worker import Say, Task
from onnxpack.worker.call import call_alone

Look = Literal["onnx", "estimator", "code", "weights", "keras", "folder"]
"""How a model is looked into, one way for each kind."""


@dataclass(frozen=True)
class LookAtModel(Task[Draft]):
    """Complete a draft, which has the source in it, by the inputs and what else is known about the model."""

    NAME = "init"
    look: Look
    draft: Draft
    destination: Path
    """Where the spec is to stand."""

    def run(self, folder: Path, say: Say) -> Draft:
        """Look into the model."""
        match self.look:
            case "onnx":
                from onnxpack.inspection.onnx_files import look_at_onnx_file as look
            case "estimator":
                from onnxpack.inspection.estimators import look_at_estimator as look
            case "code":
                from onnxpack.inspection.torch_models import look_at_code as look
            case "weights":
                from onnxpack.inspection.torch_models import look_at_weights as look
            case "keras":
                from onnxpack.inspection.keras_files import look_at_keras_file as look
            case "folder":
                from onnxpack.inspection.folder import look_at_folder as look
        return look(self.draft, self.destination)


@dataclass(frozen=True)
class ReadOnnxFacts(Task[dict[str, Any]]):
    """Read the facts that an ONNX file states about itself."""

    NAME = "inspect"
    path: Path

    def run(self, folder: Path, say: Say) -> dict[str, Any]:
        """Read the file."""
        from onnxpack.inspection.graph import onnx_facts

        return onnx_facts(self.path)


def describe_onnx(path: Path, *, sandbox: bool = False) -> SpecFile:
    """Return the spec that stands for an ONNX file: its inputs as it declares them, with guessed limits of their axes.

    Raises:
        OnnxpackError: the file is no model, or a build would refuse it.
    """
    place = path.parent.resolve() / "spec.yaml"
    draft = Draft({"onnxpack": 1, "name": "model", "model": {"framework": "onnx", "path": path.name}})
    return call_alone(LookAtModel("onnx", draft, place), sandbox=sandbox, root=place.parent).file(place)


def onnx_facts(path: Path, *, sandbox: bool = False) -> dict[str, Any]:
    """Return the JSON values of ``onnxpack.inspection.graph.onnx_facts``."""
    return call_alone(ReadOnnxFacts(path), sandbox=sandbox)
