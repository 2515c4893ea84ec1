"""Run tasks in child processes: typed requests and results, their codec, and a trace of what the work read.

What loads a model, runs user code or runs a graph is a ``Task``: it cannot take the parent down, and all that it reads
is its request, and the files that its trace then names.
"""

from onnxpack.worker.task import Effort, Say, Task

__all__ = ["Effort", "Say", "Task"]
