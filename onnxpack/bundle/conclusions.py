"""What the generated module does to the ONNX file's outputs, as its templates show it."""

from dataclasses import dataclass

from onnxpack.core.values import TensorInfo


@dataclass(frozen=True)
class ConclusionView:
    """A step that makes outputs ``given`` to the client of the ONNX file's outputs ``taken``."""

    taken: tuple[TensorInfo, ...]
    given: tuple[TensorInfo, ...]
