"""NVIDIA GPUs: onnxruntime's CUDA provider with CUDA 13 from wheels; the host's container toolkit brings the driver."""

from onnxpack.targets import Device
from onnxpack.targets.cpu import UNUSED
from onnxpack.targets.cuda.libraries import FUSED_OPS, LIBRARIES
from onnxpack.targets.cuda.operators import KNOWN_OPS
from onnxpack.targets.cuda.versions import read_versions

DEVICE = Device(
    name="cuda",
    gpu=True,
    base="gcr.io/distroless/python3-debian12",
    requirements=("numpy>=2,<3", "onnxruntime-gpu[cuda,cudnn]>=1.27"),
    unused=UNUSED,
    env={"NVIDIA_DRIVER_CAPABILITIES": "compute,utility", "NVIDIA_VISIBLE_DEVICES": "all"},
    libraries=LIBRARIES,
    known_ops=KNOWN_OPS,
    fused_ops=FUSED_OPS,
    read_versions=read_versions,
)
