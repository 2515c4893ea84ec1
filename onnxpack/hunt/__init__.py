"""Search for inputs that random ones miss: at thresholds, at the ends of ranges, and among odd values.

It runs where the source model can be asked and the exported file can be run. What it finds become cases of the
Reference, judged as any other; what no spec declares (NaN, infinities) is only told. The same spec and the same file
give the same cases: everything is seeded, and a search's length follows from the model's size.
"""

from collections.abc import Callable
from pathlib import Path

from onnxpack.core.errors import describe_error
from onnxpack.hunt.search import search_network
from onnxpack.hunt.special import find_special_differences
from onnxpack.hunt.trees import hunt_trees
from onnxpack.hunt.trial import Answer, Case, Findings, Trials
from onnxpack.spec.model import Spec

__all__ = ["Case", "Findings", "hunt"]

_LONGEST = 200  # characters of an error
MAX_MODEL_BYTES = 2**29
"""Beyond this a second copy of the model in memory, and its runs, cost more than a hunt may."""


def hunt(spec: Spec, model: Path, size_bytes: int, answer: Answer) -> Findings:
    """Return cases and notes for the finished file ``model``; ``answer`` is the source model, and may raise anything.

    A part of the hunt that fails says so in a note, and never fails the build.
    """
    findings = Findings()
    if not spec.verify.random:
        return findings
    if size_bytes > MAX_MODEL_BYTES:
        limit = MAX_MODEL_BYTES // 2**20
        findings.notes.append(f"only random inputs are compared: the model is larger than {limit} MiB")
        return findings
    try:
        trials = Trials(spec, model, answer)
    except Exception as error:  # the comparison that follows tells why it does not load
        findings.notes.append(f"only random inputs are compared: {describe_error(error, _LONGEST)}")
        return findings
    parts: dict[str, Callable[[], Findings]] = {
        "the trees' splits": lambda: hunt_trees(trials, model),
        "searched inputs": lambda: search_network(trials, model),
        "NaN and infinities": lambda: Findings(notes=list(find_special_differences(trials))),
    }
    for what, part in parts.items():
        try:
            found = part()
        except Exception as error:  # a hunt's own mistake must not take a right model down
            findings.notes.append(f"{what} are not compared: {describe_error(error, _LONGEST)}")
            continue
        findings.cases += found.cases
        findings.notes += found.notes
    return findings
