"""Lets every wheel of onnxpack, and every checkout that is installed, hold the libraries that stand in for OpenBLAS."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BlasHook(BuildHookInterface[Any]):
    """Build the libraries in the source tree before its files are collected."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build what is stale; the package's other modules cannot be imported yet, so this one is run by its path."""
        runpy.run_path(str(Path(self.root, "onnxpack/bundle/blas/build.py")))["build_libraries"]()
