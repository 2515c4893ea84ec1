"""How the columns of a declared table become the model's inputs, and dates become their parts."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from onnxpack.core.text import plural
from onnxpack.core.values import Shape, TensorInfo
from onnxpack.spec.columns import ClientColumn, choose_unit, count_date, is_nan
from onnxpack.spec.field_types import Dtype
from onnxpack.spec.messages import find_similar
from onnxpack.spec.model import Column, Input
from onnxpack.spec.steps import PreprocessStep, TableColumn

NUMBERS = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
"""The dtypes that dates' parts and the places of words can have."""
TABLE_OPSET = 9
"""From here on there are IsNaN and Where, which tell missing values."""
_YEARS = ("1950-01-01", "2049-12-31")
"""The dates that random samples are drawn from where the spec names none."""
_DATE_HINT = 'write it like "2024-02-29", in quotes'
_TEXTS = ("a text", "another text")
_STRANGE = "a word that is not known"
_FIELDS = {"category": {"categories", "unknown"}, "date": {"parts", "range"}}
"""What a column of each kind may have besides ``to`` and ``missing``."""

Trouble = tuple[str, str]
"""Why a step cannot be applied, and what to do."""


@dataclass(frozen=True)
class ColumnStage:
    """A column ``taken`` from a client; it becomes the places ``start`` up to ``stop`` of the input ``given``."""

    column: TableColumn
    taken: TensorInfo
    given: TensorInfo
    start: int
    stop: int

    @property
    def unknown(self) -> bool | int | float | str | None:
        """Return what the model gets for a word that is not among the categories; None where it is refused."""
        return self._translate(self.column.unknown)

    @property
    def missing(self) -> bool | int | float | str | None:
        """Return what the model gets for a missing value; None where it is refused."""
        return self._translate(self.column.missing)

    def _translate(self, value: bool | int | float | str | None) -> bool | int | float | str | None:
        """Return the place of a word that is among the categories, for a model that takes places."""
        places = self.column.kind == "category" and self.given.dtype != "string"
        return self.column.categories.index(value) if places and isinstance(value, str) else value


@dataclass(frozen=True)
class TableStage:
    """A step that makes inputs of the model from a table's columns."""

    step: PreprocessStep
    columns: tuple[ColumnStage, ...]

    @property
    def taken(self) -> tuple[TensorInfo, ...]:
        """Return the tensors in front of the step."""
        return tuple(column.taken for column in self.columns)

    @property
    def given(self) -> tuple[TensorInfo, ...]:
        """Return the tensors behind the step."""
        return tuple(dict.fromkeys(column.given for column in self.columns))

    def replace_inputs(self, behind: dict[str, Input]) -> dict[str, Input]:
        """Return the inputs in front of the step, by those behind it; the columns come in the place of the first."""
        first = next(name for name in behind if name in {info.name for info in self.given})
        found: dict[str, Input] = {}
        for name, tensor in behind.items():
            if name == first:
                found |= {one.taken.name: _make_input(one, behind[one.given.name]) for one in self.columns}
            elif all(name != info.name for info in self.given):
                found[name] = tensor
        return found


def make_table_stage(step: PreprocessStep, now: dict[str, TensorInfo]) -> TableStage | list[Trouble]:
    """Return the stage that makes some of the tensors ``now``, or all that is wrong with it."""
    columns = step.columns or {}
    if not columns:
        return [("the table has no columns", "list them in `columns`")]
    joined = bool(step.input)
    troubles = [trouble for name, column in columns.items() for trouble in _check_fields(name, column, joined)]
    found: list[ColumnStage] = []
    start = 0
    for name, column in columns.items():
        fed = step.input or column.to or name
        if fed not in now:
            slip = find_similar(fed, list(now))
            hint = f"did you mean '{slip}'?" if slip else f"set `to` to one of {', '.join(now)}"
            if not step.input:  # a wrong one is told already
                troubles.append((f"column '{name}' feeds the input '{fed}', which the model does not have here", hint))
            continue
        given, width = now[fed], len(column.parts) or 1
        troubles += _check_dtype(name, column, given)
        taken = TensorInfo(name, _choose_dtype(column, given), given.shape[:1])
        found.append(ColumnStage(column, taken, given, start, start + width))
        start += width if step.input else 0
    stage = TableStage(step, tuple(found))
    troubles += [*_check_shapes(stage), *_check_names(stage, now)]
    return stage if not troubles and len(found) == len(columns) else troubles


def _check_fields(name: str, column: TableColumn, joined: bool) -> Iterator[Trouble]:
    """Check that a column has the fields of its kind, and values that fit it."""
    for field in ("categories", "unknown", "parts", "range"):
        if getattr(column, field) not in (None, ()) and field not in _FIELDS.get(column.kind, ()):
            yield f"column '{name}': {field} does not apply to {column.kind}", "remove it"
    if joined and column.to:
        yield f"column '{name}': `to` and the table's `input` cannot be combined", "remove one of them"
    if len(set(column.categories)) < len(column.categories):
        yield f"column '{name}': a category is there twice", "list each word once"
    if column.unknown is not None and not column.categories:
        yield f"column '{name}': without categories no word is unknown", "list the known words in `categories`"
    if column.unknown is not None and is_nan(column.unknown):
        yield f"column '{name}': an unknown word cannot become NaN", "set `unknown` to a number"
    if column.kind == "date":
        for message, hint in check_date_range(column.range or ()):
            yield f"column '{name}': {message}", hint
        if column.missing is not None and not _is_date(column.missing):
            yield f"column '{name}': missing is '{column.missing}', and no date", _DATE_HINT


def check_date_range(dates: tuple[str, ...]) -> Iterator[Trouble]:
    """Check the dates of random samples."""
    wrong = [value for value in dates if not _is_date(value)]
    for value in wrong:
        yield f"range has '{value}', which is no date", _DATE_HINT
    if dates and not wrong and (len(dates) != 2 or count_date(dates[0], "seconds") > count_date(dates[1], "seconds")):
        yield "a range is two dates, the earlier one first", 'use `["1990-01-01", "2030-12-31"]`'


def _is_date(value: object) -> bool:
    try:
        count_date(str(value), "seconds")
    except ValueError:
        return False
    return True


def _check_dtype(name: str, column: TableColumn, given: TensorInfo) -> Iterator[Trouble]:
    """Check that the model's input can hold what becomes of a column."""
    what, dtype = f"column '{name}'", given.dtype
    fits = {
        "number": dtype in (*NUMBERS, "bool"),
        "text": dtype == "string",
        "category": dtype in (*NUMBERS, "string"),
        "date": dtype in NUMBERS,
    }
    if not fits[column.kind]:
        hint = "correct the column's `kind`, or the input's `dtype`"
        yield f"{what}: a {column.kind} cannot feed the input '{given.name}', which is {dtype}", hint
        return
    if column.kind == "category" and dtype != "string" and not column.categories:
        hint = "list the words in `categories`"
        yield f"{what}: the input '{given.name}' is {dtype}, and it is not known which word has which number", hint
    if column.kind == "date":
        return
    for field, value in (("missing", column.missing), ("unknown", column.unknown)):
        if value is not None and not _fits_dtype(value, column, dtype):
            yield f"{what}: {field} is '{value}', and the input '{given.name}' is {dtype}", f"correct `{field}`"


def _fits_dtype(value: bool | int | float | str, column: TableColumn, dtype: str) -> bool:
    if dtype == "string":
        return isinstance(value, str)
    if dtype == "bool":
        return isinstance(value, bool)
    if isinstance(value, str):
        return value in column.categories or (dtype.startswith("float") and column.kind == "number" and is_nan(value))
    return not isinstance(value, bool) and (dtype.startswith("float") or float(value).is_integer())


def _choose_dtype(column: TableColumn, given: TensorInfo) -> str:
    return {"number": given.dtype, "category": "string", "text": "string", "date": "int64"}[column.kind]


def _check_shapes(stage: TableStage) -> Iterator[Trouble]:
    """Check that the inputs are just filled by the columns."""
    for info in stage.given:
        width = max(column.stop for column in stage.columns if column.given == info)
        shape = f"[{', '.join(map(str, info.shape))}]"
        if stage.step.input:
            if len(info.shape) != 2 or info.shape[1] != width:
                hint = "give the table one column, or part of a date, for each place of the input's last axis"
                yield f"the columns make {plural(width, 'value')} for each row, and '{info.name}' is {shape}", hint
        elif info.shape[1:] not in (((), (1,)) if width == 1 else ((width,),)):
            hint = "join the columns by the table's `input`, or correct the input's `shape`"
            yield f"a column makes {plural(width, 'value')} for each row, and '{info.name}' is {shape}", hint


def _check_names(stage: TableStage, now: dict[str, TensorInfo]) -> Iterator[Trouble]:
    """Check that no input is fed twice, and that columns have names of their own."""
    fed = [column.given.name for column in stage.columns]
    if not stage.step.input:
        for name in sorted({name for name in fed if fed.count(name) > 1}):
            yield f"two columns feed the input '{name}'", "set another name in `to`"
    for info in stage.taken:
        if info.name in now and info.name not in fed:
            yield f"the name '{info.name}' is used twice", "give the column another name"


def make_date_input(shape: Shape, parts: tuple[str, ...], range_: tuple[str, ...] | None) -> Input:
    """Return what a client sends for dates, whose samples are from a range of them."""
    unit = choose_unit(parts)
    first, last = range_ or _YEARS
    return Input("int64", shape, range=(count_date(first, unit), count_date(last, unit)))


def _make_input(stage: ColumnStage, behind: Input) -> Input:
    """Return what a client sends for a column; its samples have all kinds of values that there are rules for."""
    column, taken = stage.column, stage.taken
    if column.kind == "date":
        return make_date_input(taken.shape, column.parts, column.range)
    values: Input | Column = behind.columns[stage.start] if behind.columns else behind
    made = Input(cast(Dtype, taken.dtype), taken.shape)
    if column.kind == "number":
        missing = column.missing is not None and taken.dtype.startswith("float")
        return replace(made, range=values.range, choices=values.choices, integers=values.integers, missing=missing)
    words = column.categories or tuple(map(str, values.choices or _TEXTS))
    strange = (_STRANGE,) if column.unknown is not None else ()
    empty = () if column.missing is None else ("",)
    return replace(made, choices=tuple(dict.fromkeys((*words, *strange, *empty))))


def make_client_column(stage: ColumnStage) -> ClientColumn:
    """Return what a client sends for a column, and which values of it are taken."""
    column, name = stage.column, stage.taken.name
    if column.kind == "date":
        unit = choose_unit(column.parts)
        fill = None if column.missing is None else count_date(str(column.missing), unit)
        return ClientColumn(name, "date", fill=fill, unit=unit)
    if column.kind == "number":
        gap = math.nan if stage.taken.dtype.startswith("float") else column.missing
        return ClientColumn(name, "number", fill=None if column.missing is None else gap)
    takes_all = column.unknown is not None or not column.categories
    empty = () if column.missing is None else ("",)
    words = None if takes_all else tuple(dict.fromkeys((*column.categories, *empty)))
    takes_empty = column.missing is not None or "" in column.categories
    return ClientColumn(name, column.kind, words, "" if takes_empty else None)
