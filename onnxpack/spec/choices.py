"""The types of fields whose choices follow from the files that exist: frameworks, precisions and devices."""

from typing import TYPE_CHECKING, Literal, TypeAlias

from onnxpack.spec.traits import AUTO, FLOAT32, frameworks, precisions
from onnxpack.targets import list_device_names

if TYPE_CHECKING:
    # A type checker cannot look into the folders.
    Framework: TypeAlias = str
    Precision: TypeAlias = str
    DeviceName: TypeAlias = str
else:
    Framework = Literal[tuple(frameworks())]
    Precision = Literal[(FLOAT32, *precisions(), AUTO)]
    DeviceName = Literal[list_device_names()]
