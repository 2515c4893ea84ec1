from command_line import onnxpack, project

__all__ = ["onnxpack", "project"]
