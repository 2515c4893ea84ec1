"""NVIDIA GPUs: onnxruntime's CUDA provider with CUDA 13 from wheels; the host's container toolkit brings the driver.

The provider links cublas, curand and the CUDA runtime. cuDNN (941 MB) and cuFFT (239 MB) are loaded when the first
operator asks for them, so a model of plain arithmetic ships without them. Which operators ask is known only from the
provider's source, so the list is of those that surely do not.
"""

from onnxpack.targets import Device
from onnxpack.targets.cpu import UNUSED

PLAIN_OPS = frozenset(
    {
        "Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Cos", "Div", "Equal",
        "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "Identity",
        "LayerNormalization", "LeakyRelu", "Less", "LessOrEqual", "Log", "MatMul", "Max", "Min", "Mul", "Neg", "Not",
        "Or", "Pow", "Range", "Reciprocal", "Relu", "Reshape", "Shape", "Sigmoid", "Sin", "Slice", "Split", "Sqrt",
        "Squeeze", "Sub", "Tanh", "Tile", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
DFT_OPS = frozenset({"DFT", "STFT"})

DEVICE = Device(
    name="cuda",
    gpu=True,
    base="gcr.io/distroless/python3-debian12",
    requirements=("numpy>=2,<3", "onnxruntime-gpu[cuda,cudnn]>=1.27"),
    needless_for={
        "nvidia-cudnn-cu13": PLAIN_OPS,
        "nvidia-cuda-nvrtc": PLAIN_OPS,
    },
    only_for={"nvidia-cufft": DFT_OPS, "nvidia-nvjitlink": DFT_OPS},
    unused=UNUSED,
    env={"NVIDIA_DRIVER_CAPABILITIES": "compute,utility", "NVIDIA_VISIBLE_DEVICES": "all"},
)
