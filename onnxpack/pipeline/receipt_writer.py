"""Writes receipts: what a build that passed has read and left, as far as that can be told for certain."""

import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

from onnxpack.cache.changes import State, digest_importable, digest_listing, file_state
from onnxpack.cache.known import Entry, KnownFile, digest_entries, is_behind_clock, know_file, know_state, list_entries
from onnxpack.cache.trace import digest_content
from onnxpack.inspection.signature import describe_signature
from onnxpack.oci.reference import parse_reference
from onnxpack.pipeline.installation import read_installation
from onnxpack.pipeline.receipts import Asked, History, Outline, Receipt, make_key, make_outline_key, write
from onnxpack.pipeline.report import REPORT, Attempt, to_json
from onnxpack.pipeline.requests import Reads
from onnxpack.pipeline.run import Build
from onnxpack.spec.load import SpecFile, to_plain
from onnxpack.spec.part import list_named_files


class _DoubtError(Exception):
    """Something changed since it was read or made, so that no receipt would be true."""


def write_receipt(run: Build, asked: Asked, attempt: Attempt) -> bool:
    """Write down what a build read and left; return whether that could be told.

    It cannot where a limit of time cut the work short, or where an input or output changed since it was read or made:
    the next build then walks the chain.
    """
    read = run.runner.read
    if not attempt.passed or not read.lasting or asked.reproduce or read.installation != read_installation():
        return False
    try:
        outline = _make_outline(run.plan.file, asked)
        receipt, history = _make_receipt(run, asked, attempt, read)
    except (_DoubtError, OSError):
        return False
    write(run.store, outline, receipt, history)
    return True


def _make_outline(file: SpecFile, asked: Asked) -> Outline:
    # What such a file holds was no part of reading the spec, beyond the digest that the spec itself may have of it.
    named = {path: digest_content(Path(path)) for path in _list_named(file)}
    return Outline(
        key=make_outline_key(asked),
        installation=read_installation(),
        root=str(file.root),
        name=file.spec.name,
        targets=tuple(file.spec.targets),
        files=_know_all({**file.layers, **named}, links=True),
    )


def _make_receipt(run: Build, asked: Asked, attempt: Attempt, read: Reads) -> tuple[Receipt, History]:
    plan, product = run.plan, attempt.product
    named = {path: read.files[path] for path in _list_named(plan.file) if path in read.files}
    linked = {**plan.file.layers, **named}
    others = {path: known for path, known in read.files.items() if path not in linked}
    left, (images, parts) = _list_outputs(attempt), _list_images(run, attempt)
    receipt = Receipt(
        key=make_key(asked, plan.target),
        installation=read.installation,
        asked=asked,
        name=plan.file.spec.name,
        target=plan.target,
        root=str(plan.file.root),
        output=str(plan.output),
        result=attempt.result,
        files=(*_know_all(linked, links=True), *_know_all(others), *_know_states(read.states)),
        folders=_merge(step.trace.folders for step in read.steps),
        imports=_merge(step.trace.imports for step in read.steps),
        outputs=digest_entries(left),
        images=images,
        parts=parts,
        image=product.image.id if product.image else None,
        references=product.references,
        pushed=product.pushed,
        on_gpu=product.smoke.on_gpu if product.smoke else None,
    )
    _require_folders(receipt)
    history = History(
        steps=tuple(read.steps),
        outputs=tuple(left),
        spec=to_plain(plan.file.spec),
        signature=describe_signature(plan.file.spec),
        content=product.context.content_key if product.context else "",
        base=product.base.id if product.base else "",
        python=platform.python_version(),
    )
    return receipt, history


def _list_named(file: SpecFile) -> list[str]:
    """Return the files that a spec names, by the paths at which they are looked for."""
    return [str(file.folder / name) for name in list_named_files(file)]


def _know_all(digests: Mapping[str, str], *, links: bool = False) -> tuple[KnownFile, ...]:
    found = [know_file(Path(path), known, with_links=links) for path, known in digests.items()]
    if None in found:
        raise _DoubtError
    return tuple(file for file in found if file)


def _know_states(states: Mapping[str, State]) -> Iterable[KnownFile]:
    for path, state in states.items():
        known = know_state(Path(path), state)
        if known is None:
            raise _DoubtError
        yield known


def _merge(parts: Iterable[Mapping[str, str]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for part in parts:
        for path, known in part.items():
            if merged.setdefault(path, known) != known:
                raise _DoubtError
    return merged


def _require_folders(receipt: Receipt) -> None:
    """Make sure that the folders hold what they held when they were listed."""
    for digest_folder, folders in ((digest_listing, receipt.folders), (digest_importable, receipt.imports)):
        if any(digest_folder(Path(receipt.root, folder)) != known for folder, known in folders.items()):
            raise _DoubtError


def _list_outputs(attempt: Attempt) -> list[Entry]:
    """Return what is in the folder of the outputs, once any later change of it will show.

    Another build may have put its own there meanwhile: the report says whose they are, as no two have the same times.
    """
    output = attempt.plan.output
    found = list_entries(output)
    if not is_behind_clock(output.parent, [entry.facts[-1] for entry in found if len(entry.facts) > 1]):
        raise _DoubtError
    if (output / REPORT).read_text() != to_json(attempt) or list_entries(output) != found:
        raise _DoubtError
    return found


def _list_images(run: Build, attempt: Attempt) -> tuple[dict[str, str], dict[str, State]]:
    """Return the names of the base and the image with their ids, and the files that hold the image."""
    base, image = attempt.product.base, attempt.product.image
    if base is None or image is None:
        return {}, {}
    names = run.engine.list_names()
    kept = {name: known for name, known in names.items() if known in (base.id, image.id)}
    own = {str(parse_reference(name)) for name in attempt.product.references}
    if base.id not in kept.values() or any(kept.get(name) != image.id for name in own):
        raise _DoubtError
    parts = {str(path): file_state(str(path)) for path in run.engine.list_parts(image.id)}
    found = {path: state for path, state in parts.items() if state}
    if len(found) < len(parts) or not is_behind_clock(run.store.root, [state[-1] for state in found.values()]):
        raise _DoubtError
    return kept, found
