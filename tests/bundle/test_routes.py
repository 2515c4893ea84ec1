"""One table says what a server answers; the server, its document and its docstring hold to it."""

from pathlib import Path

import pytest
from bundle_examples import MODULES
from serving import serving

from onnxpack.bundle.openapi import make_document, quote_path
from onnxpack.bundle.render import render_module
from onnxpack.bundle.routes import ERRORS, list_routes

MODELS = ["iris", "odd"]


@pytest.mark.parametrize("model", MODELS)
def test_documents_and_docstring_name_the_paths_of_the_table(model: str) -> None:
    view = MODULES[model]
    document = make_document(view)["paths"]
    told = {(method.upper(), path) for path, item in document.items() for method in item}
    assert told == {(route.method, quote_path(route.path)) for route in view.routes}
    docstring = render_module(view)["server.py"].split('"""')[1]
    for route in view.routes:
        assert route.versioned or f"{route.method:5} {route.path} " in docstring
    assert f"{', '.join(map(str, list(ERRORS)[:-1]))} or 503" in docstring


@pytest.mark.parametrize("model", MODELS)
def test_each_path_answers_its_method_and_refuses_others(model: str, apps: dict[str, Path]) -> None:
    with serving(apps[model]) as server:
        for route in MODULES[model].routes:
            other = "GET" if route.method == "POST" else "POST"
            status, answer = server.ask(other, quote_path(route.path), b"{}" if other == "POST" else None)
            assert (status, list(answer)) == (405, ["error"]), route
            if route.answer == "Action.INFER":
                assert server.ask("POST", quote_path(route.path), b"")[0] == 400


def test_a_model_without_a_version_has_no_paths_with_one() -> None:
    assert not any(route.versioned for route in list_routes("m", ""))
    model, versioned = "/v2/models/m", "/v2/models/m/versions/1"
    named = {route.path for route in list_routes("m", "1") if route.versioned}
    assert named == {route.path.replace(model, versioned) for route in list_routes("m", "") if model in route.path}
    assert f"{versioned}/infer" in named
