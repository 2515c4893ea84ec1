"""Any x86-64 machine: onnxruntime's CPU provider."""

from onnxpack.targets import Device

UNUSED = frozenset({"coloredlogs", "flatbuffers", "humanfriendly", "mpmath", "packaging", "protobuf", "sympy"})
"""onnxruntime's tools import these; a session does not."""

DEVICE = Device(
    name="cpu",
    gpu=False,
    base="gcr.io/distroless/python3-debian12",
    requirements=("numpy>=2,<3", "onnxruntime>=1.27"),
    unused=UNUSED,
    env={},
)
