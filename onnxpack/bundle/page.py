"""The page that a server shows to people: the model, and a form to try it."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cached_property

from onnxpack.bundle import quoting, templates
from onnxpack.bundle.example import choose_shape, format_example, make_example
from onnxpack.bundle.form import Ask, FormField, choose_form, list_fields
from onnxpack.bundle.openapi import quote_path
from onnxpack.bundle.predict import PredictView
from onnxpack.bundle.views import ModuleView


@dataclass(frozen=True)
class PageView:
    """The values that the page shows."""

    model: ModuleView

    @cached_property
    def style(self) -> str:
        """Return the style, which is the same for all models."""
        return templates.read_plain("page.css")

    @cached_property
    def script(self) -> str:
        """Return the script: that of tensors, and that of the form by which people ask, where there is one."""
        return templates.read_plain("page.js") + (templates.read_plain("ask.js") if self.asks else "")

    @cached_property
    def asks(self) -> Ask | None:
        """Return how people ask the model, if it is by more than tensors."""
        return choose_form(self._predict)

    @cached_property
    def fields(self) -> list[FormField]:
        """Return the fields of the form by which people ask."""
        return list_fields(self._predict)

    @property
    def accepts(self) -> str:
        """Return the media types of pictures, as the attribute of a field has them."""
        return ",".join(name for name in self._predict.media_types if name.startswith("image/"))

    @property
    def takes_rows(self) -> bool:
        """Return whether several records are taken at once."""
        return self._predict.lists

    @property
    def takes_table(self) -> bool:
        """Return whether tables are taken."""
        return self._predict.table

    @cached_property
    def _predict(self) -> PredictView:
        return PredictView(self.model)

    @property
    def policy(self) -> list[str]:
        """Return the parts of the Content-Security-Policy that lets the page run what is in it, and nothing else."""
        return [
            "default-src 'none'",
            f"style-src '{hash_source(self.style)}'",
            f"script-src '{hash_source(self.script)}'",
            "connect-src 'self'",
            *(["img-src blob:"] if self.asks == "picture" else []),
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]

    @property
    def paragraphs(self) -> list[str]:
        """Return the paragraphs of the description."""
        return [" ".join(part.split()) for part in self.model.description.split("\n\n") if part.strip()]

    @property
    def path(self) -> str:
        """Return where predictions are asked for."""
        return quote_path(f"/v2/models/{self.model.name}/infer")

    @property
    def model_path(self) -> str:
        """Return where the model is described."""
        return quote_path(f"/v2/models/{self.model.name}")

    @cached_property
    def example(self) -> str | None:
        """Return a request that works as JSON, if it is small enough to be looked at."""
        example = make_example(self.model)
        return format_example(example) if example else None

    @property
    def sizes(self) -> dict[str, str]:
        """Return the sizes that each dynamic axis may have, for a reader."""
        return {axis.name: f"{axis.min} to {axis.max}" for axis in self.model.axes}

    @property
    def binary_inputs(self) -> list[str]:
        """Return the inputs of a program that sends binary tensors, as expressions in Python."""
        found = []
        for field in self.model.arguments:
            shape = choose_shape(self.model, field)
            zeros = {
                "bytes": f"np.array([open('picture', 'rb').read()] * {shape[0]}, object)" if shape else "",
                "string": f"np.full({shape}, b'', object)",
            }.get(field.kind, f"np.zeros({shape}, {field.dtype})")
            tensor = f'http.InferInput({quoting.python_literal(field.name)}, {shape}, "{field.datatype}")'
            found.append(f"{tensor}.set_data_from_numpy({zeros})")
        return found


def hash_source(text: str) -> str:
    """Return the hash by which a Content-Security-Policy names an inline style or script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
