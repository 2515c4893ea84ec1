"""Rules on where a source model comes from: the packages of its own environment."""

import re
from collections.abc import Callable, Iterator

from onnxpack.errors import Location, Problem
from onnxpack.spec.model import Spec

Where = Callable[..., Location]


def pins(spec: Spec, where: Where) -> Iterator[Problem]:
    """Each package is pinned once."""
    seen: dict[str, str] = {}
    for index, pin in enumerate(spec.model.requirements):
        name = re.sub(r"[-_.]+", "-", re.split(r"\[|==", pin)[0]).lower()
        first = seen.setdefault(name, pin)
        if first is not pin:
            yield Problem(f"'{name}' is pinned twice", f"'{first}' stands above; keep one",
                          where("model", "requirements", index))  # fmt: skip
