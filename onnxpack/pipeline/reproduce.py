"""The stage ``reproduce``: the same spec is built once more, elsewhere and otherwise, and must give the same image."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from onnxpack.core.digests import digest_tree
from onnxpack.core.errors import EngineError, GateError
from onnxpack.core.scratch import working_folder
from onnxpack.image import IMAGES, name_engine
from onnxpack.image.engine import Image
from onnxpack.image.oci import OciEngine
from onnxpack.oci.archive import write_archive
from onnxpack.oci.layout import Layout
from onnxpack.pipeline.base import find_pin
from onnxpack.pipeline.run import Build, Product
from onnxpack.pipeline.stores import URL_VARIABLE

_UMASK = 0o077
_ENVIRONMENT = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "LANG": "C"}
"""Where it is 14 hours later than in Greenwich, so that a local time or date in any file would show."""
_SEEDS = ("1", "2")
"""Values of ``PYTHONHASHSEED``: the second build takes the one that this process does not have."""
_REPOSITORY = "onnxpack-again"
_MOST = 20
"""The most files that an error names."""
_LINES = 4000
"""The last characters of what a build that failed had said."""


@dataclass(frozen=True)
class Reproduction:
    """A second build that gave the same image: what was compared, and its digest."""

    compared: str
    digest: str


def reproduce(run: Build, product: Product) -> Product:
    """Build the target again, without any store, in another folder, time zone, locale, umask and hash seed.

    Raises:
        GateError: another image comes out, or none.
    """
    assert product.image
    started = time.monotonic()
    with run.progress.stage("reproduce"), working_folder(run.store.root) as folder:
        report = _build_again(run, product, folder)
        for name in report["image"]["references"]:
            run.engine.untag(name)
        found, known = _identify(report["image"]), _identify(asdict(product.image))
        if found != known:
            output = folder / "dist" / run.plan.output.relative_to(run.plan.output.parents[1])
            raise GateError(
                f"a second build gave another image: {known.compared} {known.digest}, then {found.digest}",
                "see below which files differ",
                "\n".join(_list_differences(product, output)) or "all files of the context are the same",
            )
    run.runner.record("reproduce", "", started, known.digest, cached=False)
    return replace(product, reproduction=known)


def _identify(image: Mapping[str, Any]) -> Reproduction:
    """Return what tells an image apart: its manifest, or its layers where the engine writes the time into it.

    ``image`` is what a report says of it.
    """
    if image["compression"]:
        return Reproduction("manifest", image["digest"])
    return Reproduction("layers", " ".join(layer["digest"] for layer in image["layers"]))


def _build_again(run: Build, product: Product, folder: Path) -> dict[str, Any]:
    """Run the command line in a process of its own, and return its report."""
    seed = next(seed for seed in _SEEDS if seed != os.environ.get("PYTHONHASHSEED"))
    for name in ("tmp", "elsewhere"):
        (folder / name).mkdir()
    environment = os.environ | _ENVIRONMENT
    environment |= {"PYTHONHASHSEED": seed, "ONNXPACK_CACHE": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
    environment |= {URL_VARIABLE: ""}  # nor is another machine's result a second build
    ended = subprocess.run(
        [sys.executable, "-m", "onnxpack", "build", *_list_arguments(run, product, folder)],
        cwd=folder / "elsewhere",
        env=environment,
        umask=_UMASK,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        (report,) = json.loads(ended.stdout)
    except ValueError:
        raise EngineError(
            "the second build left no report", "its last words are below", ended.stderr[-_LINES:]
        ) from None
    if ended.returncode:
        raise GateError("the spec does not build a second time", "its last words are below", ended.stderr[-_LINES:])
    found: dict[str, Any] = report
    return found


def _list_arguments(run: Build, product: Product, folder: Path) -> list[str]:
    plan = run.plan
    arguments = [str(plan.file.path), "--target", plan.target, "--output", str(folder / "dist"), "--json", "--no-cache"]
    arguments += ["--engine", name_engine(run.engine), "--compression", run.compression, "--budget", str(run.budget)]
    # What the first image showed in its test is not asked of a second one, which takes as long as all the rest.
    arguments += ["--until", "image"]
    # This build was allowed to run the code of the spec.
    arguments += ["--trust", *(["--sandbox"] if plan.sandbox else [])]
    # Under another name, so that the first image keeps its own.
    for setting in (*plan.file.settings, f"image.repository={_REPOSITORY}/{plan.file.spec.name}"):
        arguments += ["--set", setting]
    if run.vendor:
        arguments += ["--vendor", str(run.vendor)]
    elif product.image and product.image.compression and product.base:
        arguments += _hand_over_base(run, product.base, folder)
    return arguments


def _hand_over_base(run: Build, base: Image, folder: Path) -> list[str]:
    """Let the second build have the base of this one: its store is empty, and the registry may have another by now.

    A base that the lock pins goes into the store, under its name, since an image says what its base is pinned to.
    """
    archive, pin = folder / "base.tar", find_pin(run.plan)
    layout, entry = run.engine.export(base.id, run.compression)
    write_archive(layout, entry, layout.read_manifest(entry), (), archive)
    if run.base or not pin:
        return ["--base", str(archive)]
    OciEngine(Layout(folder / "cache" / IMAGES)).add_base(archive, pin.pinned, run.plan.spec_target.platform)
    return []


def _list_differences(product: Product, output: Path) -> list[str]:
    """Return the files of the two contexts that differ, or that one of them lacks."""
    assert product.context
    ours, theirs = digest_tree(product.context.folder), digest_tree(output / "context")
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    more = [f"… and {len(names) - _MOST} more"] if len(names) > _MOST else []
    return [*names[:_MOST], *more]
