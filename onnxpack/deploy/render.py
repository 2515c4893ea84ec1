"""Render the templates of manifests: text with placeholders, in which free text is always quoted."""

import json
from functools import cache

import jinja2

from onnxpack.bundle.templates import list_folders

_FOLDER = "deploy"


def render(name: str, **values: object) -> str:
    """Return a template of ``templates/deploy`` with its placeholders filled in."""
    return _environment().get_template(f"{name}.j2").render(**values)


def quote_yaml(text: str) -> str:
    """Return a text as a double-quoted scalar of YAML, in one line."""
    quoted = json.dumps(text, ensure_ascii=False)
    return "".join(char if char.isprintable() else _escape(ord(char)) for char in quoted)


def quote_protobuf(text: str) -> str:
    """Return a text as a string of protobuf's text format: UTF-8, with octal escapes for what is not printed."""
    made = []
    for char in text:
        if char in '"\\':
            made.append(f"\\{char}")
        elif char.isprintable():
            made.append(char)
        else:
            made += [f"\\{byte:03o}" for byte in char.encode()]
    return f'"{"".join(made)}"'


def indent_block(text: str, width: int) -> str:
    """Return lines behind so many spaces, without the line breaks around them."""
    return "\n".join(f"{' ' * width}{line}" for line in text.strip("\n").splitlines())


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([folder / _FOLDER for folder in list_folders()]),
        undefined=jinja2.StrictUndefined,  # a misspelt name in a template fails, instead of rendering nothing
        autoescape=False,  # noqa: S701 - nothing is HTML: the filters quote for YAML and for protobuf
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"yaml": quote_yaml, "pbtxt": quote_protobuf, "block": indent_block}
    return environment
