"""What a lock pins besides the packages of images: files, tools, the model's environment, and tolerances."""

from collections.abc import Mapping

from onnxpack.bundle.lock import Pins
from onnxpack.bundle.sources import Source, Sources, digest_source, find_sources, locate_external, name_external
from onnxpack.bundle.tools import find_tools
from onnxpack.core.errors import Problem, SpecError
from onnxpack.parity.compare import TOLERANCES, Tolerance, choose_tolerance
from onnxpack.spec.load import SpecFile
from onnxpack.spec.model import Spec
from onnxpack.spec.traits import AUTO, FLOAT32, precisions
from onnxpack.targets import load_device


def collect_pins(file: SpecFile, external: tuple[str, ...], environment: Mapping[str, str]) -> Pins:
    """Return what a lock pins now.

    ``external`` are the paths of the data that an ONNX model keeps in files of its own, relative to the model's folder;
    ``environment`` has the versions in the model's isolated environment.

    Raises:
        SpecError: a file is not there.
    """
    sources = find_sources(file)
    digests = digest_sources(file, sources)
    for location in external:
        name = name_external(file, location)
        digests[name] = digest_if_there(file, locate_external(file, name))
    missing = [name for name, digest in digests.items() if not digest]
    if missing:
        text = "'{}' is not there, or cannot be read"
        raise SpecError([Problem(text.format(name), "put it in its place", file.where("model")) for name in missing])
    return Pins(digests, find_tools(file.spec, sources.packages), environment, list_tolerances(file.spec))


def digest_sources(file: SpecFile, sources: Sources) -> dict[str, str]:
    """Return the SHA-256 of each source by its name; empty for one that cannot be read."""
    return {name: digest_if_there(file, source) for name, source in sources.files.items()}


def digest_if_there(file: SpecFile, source: Source | None) -> str:
    """Return the SHA-256 of a source; empty if it cannot be read."""
    try:
        return digest_source(file, source) if source else ""
    except OSError:
        return ""


def list_tolerances(spec: Spec) -> dict[str, dict[str, str]]:
    """Return the tolerances in force, by each precision that may be compared and then by the dtype of an output.

    Outputs of other dtypes than these, as integers, must be equal.
    """
    verify = spec.verify
    return {
        precision: _describe_tolerance(Tolerance.of(precision, verify.rtol, verify.atol))
        for precision in _list_precisions(spec)
    }


def _describe_tolerance(tolerance: Tolerance) -> dict[str, str]:
    if limits := tolerance.noise_limits:
        return {"noise": f"{limits.noise:g}", "labels": f"{limits.labels:g}"}
    found = {}
    for dtype in sorted(TOLERANCES):
        rtol, atol = choose_tolerance(dtype, tolerance.precision, tolerance.rtol, tolerance.atol)
        found[dtype] = f"rtol {rtol:g}, atol {atol:g}"
    return found if len(set(found.values())) > 1 else {"floats": found.popitem()[1]}


def _list_precisions(spec: Spec) -> list[str]:
    """Return the precisions that a build of any target may compare, float32 first."""
    found = {FLOAT32: None}
    for target in spec.targets.values():
        device = load_device(target.device).name
        if target.precision == AUTO:
            found |= {name: None for name, traits in precisions().items() if device in traits.tried_on}
        else:
            found[target.precision] = None
    return list(found)
