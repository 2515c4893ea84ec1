"""The generated `texts.py` for a tokenizer of a test, loaded into this process, with what it was generated from."""

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from sys import modules
from typing import Any

from bundle_examples import TEXTS
from tokenizing import write_tokenizer

from onnxpack.bundle.templates import render
from onnxpack.core.values import Axis, TensorInfo
from onnxpack.spec.intakes import Intake
from onnxpack.spec.steps import PreprocessStep
from onnxpack.spec.tokenizer_file import read_tokenizer

_NUMBERS = itertools.count()


@dataclass(frozen=True)
class TextModule:
    """A loaded module, with the intake, axes and tokenizer that it was generated from."""

    module: Any
    intake: Intake
    axes: tuple[Axis, ...]
    file: Path

    def tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> Any:
        """Call the module as `intake.py` does."""
        return self.module.tokenize("text", texts, pairs)

    def list_ids(self, *texts: str) -> list[list[int]]:
        """Return the ids of some texts."""
        ids: list[list[int]] = self.tokenize(texts).arrays["input_ids"].tolist()
        return ids


def make_texts(
    folder: Path,
    kind: str = "word-piece",
    tokens: int | tuple[int, int] = (1, 512),
    *,
    dtype: str = "int64",
    places: bool = False,
    change: Callable[[dict[str, Any]], None] | None = None,
    **step: Any,
) -> TextModule:
    """Write and load the module of one input ``text``, of some fields of its step, with a fixed or dynamic axis.

    ``change`` may change the tokenizer's file.
    """
    file = write_tokenizer(folder, kind)
    if change:
        document = json.loads(file.read_text())
        change(document)
        file.write_text(json.dumps(document))
    size = tokens if isinstance(tokens, int) else "tokens"
    axes = (
        Axis("batch", 1, 2, 64),
        *(() if isinstance(tokens, int) else (Axis("tokens", tokens[0], *[tokens[1]] * 2),)),
    )
    made = PreprocessStep("tokenize", "text", tokenizer=file.name, **step)
    names = [name for name in ("text", made.pair) if name]
    intake = Intake(
        "text",
        (made,),
        tuple(TensorInfo(name, "string", ("batch",)) for name in names),
        tuple(TensorInfo(name, dtype, ("batch", size)) for name in ("input_ids", "attention_mask", "token_type_ids")),
    )
    outputs: Any = (object(),) if places else ()  # what they are, this module does not read
    view = replace(
        TEXTS, server="none", inputs=intake.taken, axes=axes, intakes=(intake,), conclusions=outputs,
        tokenizers={file.name: read_tokenizer(file)},
    )  # fmt: skip
    file.rename(folder / view.texts[0].file)
    path = folder / "texts.py"
    path.write_text(render("texts.py", view=view))
    name = f"texts_{next(_NUMBERS)}"
    found = spec_from_file_location(name, path)
    assert found
    assert found.loader
    module = modules[name] = module_from_spec(found)  # dataclasses look their module up there
    found.loader.exec_module(module)
    return TextModule(module, intake, axes, folder / view.texts[0].file)
