"""The environment that all templates are rendered in, and where they are."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

import jinja2

from onnxpack.bundle import quoting


def render(name: str, **values: object) -> str:
    """Return what the template ``<name>.j2`` gives for some values."""
    return _environment().get_template(f"{name}.j2").render(**values)


def read_plain(name: str) -> str:
    """Return a file that has no placeholders as it is."""
    environment = _environment()
    assert environment.loader
    # Not rendered: that would take longer than all the rest of a page.
    return environment.loader.get_source(environment, name)[0]


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(list(list_folders())),
        undefined=jinja2.StrictUndefined,  # a misspelt name in a template fails, instead of rendering nothing
        autoescape=jinja2.select_autoescape(["html.j2"]),  # of all else nothing is HTML: the filters quote for Python
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"py": quoting.python_literal, "doc": quoting.escape_docstring}
    return environment


def list_folders() -> Iterable[Path]:
    """Return where templates may be: inside the package once it is installed, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "templates", package.parent / "templates"
