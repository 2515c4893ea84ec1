"""Explain errors of a torchvision that was built for another PyTorch, which name neither."""

import re
from importlib import metadata

_SIGNS = re.compile(
    r"operator torchvision::\w+ does not exist|undefined symbol|Couldn't load custom C\+\+ ops"
    r"|PyTorch and torchvision were compiled with different|partially initialized module 'torchvision'"
)
_NAMES = ("torch", "torchvision")


def explain_torchvision(error: BaseException) -> tuple[str, str] | None:
    """Return what is wrong and how to mend it, if an error says that torch and torchvision do not fit each other."""
    words = f"{type(error).__name__}: {error}"
    if not _SIGNS.search(words) or "torchvision" not in words:
        return None
    try:
        torch, vision = (metadata.version(name) for name in _NAMES)
    except metadata.PackageNotFoundError:
        return None
    release, _, build = torch.partition("+")
    index = f" --index-url https://download.pytorch.org/whl/{build}" if build else ""
    # Either `torch==2.13.0` or `torch (==2.13.0)`.
    needs = {re.sub(r"[ ()]", "", line) for line in metadata.requires("torchvision") or ()}
    if f"torch=={release}" in needs:
        command = f"pip install --force-reinstall --no-deps torchvision=={vision.partition('+')[0]}{index}"
        return f"torch {torch} and torchvision {vision} are different builds", f"run `{command}`"
    command = f"pip install --force-reinstall torch=={release} torchvision{index}"
    return f"torchvision {vision} was built for another version than torch {torch}", f"run `{command}`"
