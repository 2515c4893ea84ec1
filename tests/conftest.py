"""What all tests share: onnxruntime stays silent, and nothing random is remembered between runs."""

import os

from hypothesis import settings

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it is read when onnxruntime is imported

settings.register_profile("onnxpack", database=None, deadline=None)
settings.load_profile("onnxpack")
