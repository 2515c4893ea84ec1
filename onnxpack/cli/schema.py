"""``onnxpack schema``: the JSON Schema of the spec."""

import json

import click

from onnxpack.spec.schema import make_schema


@click.command("schema")
def command() -> None:
    """Print the JSON Schema of the spec, for editors and other checkers."""
    click.echo(json.dumps(make_schema(), indent=2, ensure_ascii=False))
