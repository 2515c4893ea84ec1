"""``onnxpack inspect``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from onnxpack.cli.arguments import SANDBOX


@click.command("inspect")
@click.argument("paths", nargs=-1, required=True, metavar="PATH…")
@SANDBOX
@click.option("--json", "as_json", is_flag=True, help="Print the facts as one JSON list.")
@click.pass_context
def command(ctx: click.Context, paths: tuple[str, ...], sandbox: bool, as_json: bool) -> None:
    """Show what each PATH holds: an ONNX model, a spec, a bundle (dist/NAME/TARGET), or a report.

    A spec is shown with its defaults. What is no path is taken for the name of an image.
    """
    from onnxpack.cli.failure import tell
    from onnxpack.errors import OnnxpackError

    documents: list[dict[str, Any]] = []
    status = 0
    for path in paths:
        try:
            for facts, text in _looked(path, sandbox=sandbox):
                if not as_json:
                    click.echo(("\n" if documents else "") + text)
                documents.append(facts)
        except (OnnxpackError, OSError) as error:
            code = tell(error)
            status = status or code
    if as_json:
        click.echo(json.dumps(documents, indent=2))
    ctx.exit(status)


def _looked(path: str, *, sandbox: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Each thing that the path stands for: its facts, and the same in words."""
    from onnxpack.cli.arguments import spec_files
    from onnxpack.look.kinds import kind_of

    kind = kind_of(path)
    if kind in ("spec", "specs"):
        from onnxpack.look.resolved import spec_facts, spec_text
        from onnxpack.spec.load import load

        for found in spec_files([Path(path)]):
            file = load(found)
            yield spec_facts(file), spec_text(file).rstrip("\n")
        return
    from onnxpack.look.show import lines

    facts = _facts(kind, path, sandbox=sandbox)
    yield facts, "\n".join(lines(facts))


def _facts(kind: str, path: str, *, sandbox: bool) -> dict[str, Any]:
    if kind == "onnx":
        from onnxpack.look.child import onnx_facts

        return onnx_facts(Path(path), sandbox=sandbox)
    if kind == "bundle":
        from onnxpack.look.bundle import bundle_facts

        return bundle_facts(Path(path), sandbox=sandbox)
    if kind == "report":
        from onnxpack.look.report import read_report

        return read_report(Path(path))
    from onnxpack.look.image import image_facts

    return image_facts(path)
