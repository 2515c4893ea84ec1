"""The task that writes down what a model answers on a runtime."""

from dataclasses import dataclass, replace
from pathlib import Path

from onnxpack.core.artifacts import Artifact
from onnxpack.core.errors import GateError
from onnxpack.core.values import OnnxModel, Reference
from onnxpack.worker import Say, Task


@dataclass(frozen=True)
class AnswerReference(Task[Reference]):
    """Run a model on the cases of a Reference, and return them with its own answers in the place of the source's."""

    NAME = "answer"
    model: OnnxModel
    reference: Reference
    precision: str

    def run(self, folder: Path, say: Say) -> Reference:
        """Answer with onnxruntime on the CPU.

        Raises:
            GateError: the model does not run.
        """
        from onnxpack.data.test_inputs import write_arrays
        from onnxpack.graph.widen import open_cpu_session
        from onnxpack.parity.compare import clean_runtime_error, read_case

        cases = folder / "cases"
        cases.mkdir()
        running = open_cpu_session(self.model.path)
        names = [output.name for output in running.get_outputs()]
        for case in self.reference.select_cases(self.precision):
            inputs, _ = read_case(self.reference.folder, case)
            try:
                answers = running.run(None, inputs)
            except Exception as error:  # onnxruntime's exceptions share no base
                raise GateError(f"the model does not run: {clean_runtime_error(error)}") from None
            write_arrays(cases / f"{case}.inputs.npz", inputs)
            # The runtime gives texts as objects, which no npz may hold.
            texts = (array.astype(str) if array.dtype.kind == "O" else array for array in answers)
            write_arrays(cases / f"{case}.outputs.npz", dict(zip(names, texts, strict=True)))
        return replace(self.reference, files=Artifact.of(cases))
