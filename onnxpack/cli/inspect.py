"""``onnxpack inspect``: what a model, spec, bundle, image or report holds."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from onnxpack.cli.arguments import SANDBOX


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@SANDBOX
@click.option(
    "--why",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Say what keeps FILE in a bundle's image, or why it was left out: a path in the image, the end of one, or a "
    "pattern. Without FILE: each package's size, and the largest files.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON list.")
@click.pass_context
def command(ctx: click.Context, paths: tuple[str, ...], sandbox: bool, why: str | None, as_json: bool) -> None:
    """Show what each PATH holds: an ONNX model, a spec, a bundle (dist/NAME/TARGET), an image.tar, or a report.

    A spec is shown with its defaults. What is no path is taken for the name of an image.
    """
    from onnxpack.cli.failure import tell
    from onnxpack.core.errors import OnnxpackError

    documents: list[dict[str, Any]] = []
    status = 0
    for path in paths:
        try:
            for facts, text in _look(path, sandbox=sandbox) if why is None else _explain(path, why):
                if not as_json:
                    click.echo(("\n" if documents else "") + text)
                documents.append(facts)
        except (OnnxpackError, OSError) as error:
            code = tell(error)
            status = status or code
    if as_json:
        click.echo(json.dumps(documents, indent=2))
    ctx.exit(status)


def _look(path: str, *, sandbox: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each thing that the path stands for: its facts, and the same as text."""
    from onnxpack.cli.arguments import spec_files
    from onnxpack.inspection.kinds import kind_of

    kind = kind_of(path)
    if kind in ("spec", "specs"):
        from onnxpack.pipeline.resolved import describe_spec, write_spec_text
        from onnxpack.spec.load import load

        for found in spec_files([Path(path)]):
            file = load(found)
            yield describe_spec(file), write_spec_text(file).rstrip("\n")
        return
    from onnxpack.inspection.show import lines

    facts = _facts(kind, path, sandbox=sandbox)
    yield facts, "\n".join(lines(facts))


def _explain(path: str, file: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield why a bundle has a file: the facts, and the same as text."""
    from onnxpack.core.errors import Location, Problem, SpecError
    from onnxpack.inspection.kinds import kind_of
    from onnxpack.inspection.why import explain, format_explanation

    if kind_of(path) != "bundle":
        text = "only a bundle says why it has a file"
        raise SpecError(Problem(text, "name the folder that a build left: dist/NAME/TARGET", Location(path)))
    facts = explain(Path(path), file)
    yield facts, "\n".join(format_explanation(facts))


def _facts(kind: str, path: str, *, sandbox: bool) -> dict[str, Any]:
    if kind == "onnx":
        from onnxpack.inspection.child import onnx_facts

        return onnx_facts(Path(path), sandbox=sandbox)
    if kind == "bundle":
        from onnxpack.inspection.bundle import bundle_facts

        return bundle_facts(Path(path), sandbox=sandbox)
    if kind == "report":
        from onnxpack.inspection.report import read_report

        return read_report(Path(path))
    from onnxpack.inspection.image import archive_facts, image_facts

    return archive_facts(Path(path)) if kind == "archive" else image_facts(path)
