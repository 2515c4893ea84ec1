"""What all tests share: fixtures; onnxruntime stays silent, and nothing random is remembered between runs."""

import os

from command_line import expected, onnxpack, project
from hypothesis import settings
from web import web
from wheels import wheels

__all__ = ["expected", "onnxpack", "project", "web", "wheels"]

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it is read when onnxruntime is imported

settings.register_profile("onnxpack", database=None, deadline=None)
settings.load_profile("onnxpack")
