"""What is between clients of iris and its ONNX file: pictures are decoded.

Whatever is wrong with them is a ValueError whose message is for the request's sender.
"""

import os
import threading
from binascii import a2b_base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from pictures import read_pictures

Arrays = dict[str, NDArray[Any]]

# Requests whose pictures are decoded at a time: a small file may take 100 MB and more until it is resized.
DECODING = threading.BoundedSemaphore(max(2, min(len(os.sched_getaffinity(0)), 8)))
PICTURES = {  # one of the usual size for each input, of one colour
    "image": a2b_base64(
        "iVBORw0KGgoAAAANSUhEUgAAAAYAAAAECAIAAAAiZtkUAAAADElEQVR42mNgoB4AAABMAAFwktvAAAAAAElFTkSuQmCC"
    ),
}


@dataclass
class Context:
    """What of a request's inputs its outputs are made with."""


def prepare(arrays: Mapping[str, NDArray[Any]]) -> tuple[Arrays, Context]:
    """Make the ONNX file's inputs of a client's, which are checked."""
    fed, context = dict(arrays), Context()
    with DECODING:
        fed["image"] = read_pictures("image", fed["image"].tolist())
    return fed, context


def conclude(results: Arrays, context: Context) -> Arrays:
    """Make a client's outputs of what the ONNX file gives."""
    return results
