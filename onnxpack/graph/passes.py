"""Define the one protocol for everything that edits a graph: a precondition, the edit, and a postcondition.

A pass is a frozen dataclass whose fields are its parameters. ``run_passes`` runs several in turn, checks the conditions
of each, and tells which of them changed the model. What a user can cause (a size that does not fit the spec) is raised
by the pass itself, as a typed error of its kind. The conditions are what a pass relies on and leaves to the next one.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from onnxpack.core.errors import GateError, Problem

Edit = tuple[onnx.ModelProto, bool]
"""The model after a pass, which may be the one that it was given, and whether it differs from that."""


# A gate's error: a condition that does not hold means that the model is not what the build believes it is.
class PassError(GateError):
    """A condition of a graph pass does not hold; ``name`` is the pass, ``when`` is before or after it."""

    def __init__(self, name: str, when: str, problems: Sequence[Problem]) -> None:
        self.name = name
        self.when = when
        told = [
            Problem(f"{when} the graph pass {name}: {problem.message}", problem.hint or "report it as a bug")
            for problem in problems
        ]
        super().__init__(told)


class GraphPass(ABC):
    """One edit of a graph.

    Only ``apply`` must be written. It may edit the model in place or return another one.
    """

    @property
    def name(self) -> str:
        """Return the name that errors and reports use."""
        return type(self).__name__

    def requires(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Return what is wrong with ``model`` as this pass's input; nothing if the pass may run."""
        return ()

    @abstractmethod
    def apply(self, model: onnx.ModelProto) -> Edit:
        """Edit the model; return the result and whether anything changed."""

    def ensures(self, model: onnx.ModelProto) -> Sequence[Problem]:
        """Return what is wrong with ``model`` as this pass's result; nothing if the pass did its work."""
        return ()


@dataclass(frozen=True)
class Passed:
    """The model that ``run_passes`` made, and the names of the passes that changed it, in order."""

    model: onnx.ModelProto
    modified: tuple[str, ...]


def run_passes(model: onnx.ModelProto, passes: Sequence[GraphPass]) -> Passed:
    """Run the passes in turn, each on what the one before it gave.

    Raises:
        PassError: a precondition or postcondition does not hold.
    """
    modified = []
    for one in passes:
        _check(one.name, "before", one.requires(model))
        model, changed = one.apply(model)
        _check(one.name, "after", one.ensures(model))
        if changed:
            modified.append(one.name)
    return Passed(model, tuple(modified))


def _check(name: str, when: str, problems: Sequence[Problem]) -> None:
    if problems:
        raise PassError(name, when, problems)
