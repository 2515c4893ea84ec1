"""Import transformers so that it fetches nothing, and works beside a torchvision that does not."""

import importlib
import os
import sys
from types import ModuleType
from typing import Any, cast

from onnxpack.intake.picture_reference import import_torchvision

_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Variables that the libraries read when they are imported: a folder is all that a spec names."""
_PICTURES = "torchvision"


def _import_library() -> Any:
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    try:
        import_torchvision(_PICTURES)
    except Exception:  # where it cannot be mended: transformers would import it, and no export needs it
        for name in [name for name in sys.modules if name.partition(".")[0] == _PICTURES]:
            del sys.modules[name]
        sys.modules[_PICTURES] = cast(ModuleType, None)
    library: Any = importlib.import_module("transformers")
    library.logging.set_verbosity(library.logging.CRITICAL)  # what counts is checked on what was loaded
    library.logging.disable_progress_bar()
    return library


transformers = _import_library()
