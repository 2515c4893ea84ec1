"""What a server takes of people at ``/predict``: pictures, texts, records and tables, as far as its model has them."""

from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote_plus

from onnxpack.bundle import quoting
from onnxpack.bundle.answers import Pair
from onnxpack.bundle.tables import list_columns
from onnxpack.bundle.views import Field, ModuleView
from onnxpack.spec.columns import ClientColumn

_MOST_COLUMNS = 1000
"""The columns beyond which nobody writes records: the numbers of a row are lists then."""
_MOST_PARTS = 1000
"""The parts of a form, as a browser may send them."""
_MOST_NAMED, _LONGEST = 3, 20
"""The inputs that a message names, and the characters of each."""
PICTURE_TYPES = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "bmp": "image/bmp"}
"""The media type of each format of pictures."""


@dataclass(frozen=True)
class PredictView:
    """The values that the module behind ``/predict`` shows."""

    model: ModuleView

    @property
    def one(self) -> bool:
        """Return whether there is one input, whose value may come without its name."""
        return len(self.model.arguments) == 1

    @cached_property
    def rows(self) -> bool:
        """Return whether inputs and outputs have rows, so that each row has an answer of its own."""
        if self.model.batch:
            return True
        return all(field.shape[:1] == (1,) for field in (*self.model.arguments, *self.model.fields))

    @cached_property
    def files(self) -> bool:
        """Return whether an input takes pictures."""
        return "bytes" in self.model.input_kinds

    @cached_property
    def declared(self) -> dict[str, ClientColumn]:
        """Return the inputs that are declared columns, by name, where records have them as people write them."""
        named = {name for name, columns in list_columns(self.model.inputs).items() if columns == [name]}
        return {one.name: one for one in self.model.columns if self.table and one.name in named}

    @cached_property
    def table(self) -> bool:
        """Return whether inputs are the columns of a table, which ``records.py`` then reads."""
        columns = list_columns(self.model.inputs)
        return self.model.tables.read and not self.files and sum(map(len, columns.values())) <= _MOST_COLUMNS

    @property
    def lists(self) -> bool:
        """Return whether a list of objects is taken, one for each row."""
        return self.rows or self.table

    @property
    def takes_picture(self) -> bool:
        """Return whether a body may be a picture: all that the model takes."""
        return self.one and self.rows and self.files

    @property
    def takes_text(self) -> bool:
        """Return whether a body may be one text: all that the model takes."""
        return self.one and self.rows and self.model.input_kinds == {"string"} and self.rank == 0

    @property
    def rank(self) -> int:
        """Return how many lists are in each other in a row of the only input; a list of one value counts as none."""
        sizes = self.model.arguments[0].shape[1:]
        return 0 if sizes == (1,) else len(sizes)

    @property
    def wraps(self) -> bool:
        """Return whether an input has one value for each row, in a list of its own."""
        return self.rows and any(field.shape[1:] == (1,) for field in self.model.arguments)

    @property
    def packed(self) -> list[str]:
        """Return the names of the lists that are packed in large texts, as Python expressions."""
        names = [quoting.python_literal(field.name) for field in self.model.arguments if self._holds_lists(field)]
        return [*names, "documents.TOP"] if self.one and names else names

    def _holds_lists(self, field: Field) -> bool:
        sizes = field.shape[1:] if self.rows else field.shape
        return bool(sizes) and field.kind != "bytes"

    @property
    def max_parts(self) -> int:
        """Return how many parts a form may have."""
        batch = self.model.batch
        if self.takes_picture or self.takes_text:
            return min(batch.max if batch else 1, _MOST_PARTS)
        return len(self.first_fields)

    @property
    def first_fields(self) -> list[str]:
        """Return how a form of fields may begin, as Python expressions."""
        columns = list_columns(self.model.inputs) if self.table else {f.name: [f.name] for f in self.model.arguments}
        return [f'b"{quote_plus(name)}="' for names in columns.values() for name in names]

    # What is answered.

    @cached_property
    def answers(self) -> list[str]:
        """Return the names in an answer."""
        return self.model.answers.list_names(tuple(field.name for field in self.model.fields))

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Return the words for the places of outputs."""
        return dict(self.model.answers.classes)

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """Return the outputs that belong together."""
        return self.model.answers.pairs

    @property
    def spells(self) -> bool:
        """Return whether the numbers of an output are written one by one."""
        return bool(self.classes or self.pairs)

    @property
    def documents(self) -> tuple[str, ...]:
        """Return the outputs that are JSON."""
        return tuple(one.name for one in self.model.conclusions)

    @property
    def scalars(self) -> list[str]:
        """Return the outputs with one value for each row in a list of its own."""
        special = {*self.classes, *(name for pair in self.pairs for name in (pair.values, pair.places))}
        return [f.name for f in self.model.fields if self.rows and f.shape[1:] == (1,) and f.name not in special]

    @property
    def writes_table(self) -> bool:
        """Return whether answers may be csv."""
        return self.model.tables.written

    # What is said of it.

    @cached_property
    def media_types(self) -> tuple[str, ...]:
        """Return the media types of bodies that are taken, the aptest one first."""
        pictures = self.model.pictures if self.takes_picture else ()
        found = [PICTURE_TYPES[name] for picture in pictures for name in picture.formats]
        found += ["text/plain"] if self.takes_text else []
        return (*found, "application/json", *(["text/csv"] if self.table else []), "multipart/form-data")

    @property
    def readers(self) -> dict[str, str]:
        """Return the function that reads each media type but that of forms."""
        functions = {"text/plain": "read_text", "application/json": "read_json", "text/csv": "read_csv"}
        named = [name for name in self.media_types if name != "multipart/form-data"]
        found = {name: functions.get(name, "read_picture") for name in named}
        return found | ({"image/jpg": "read_picture"} if "image/jpeg" in found else {})  # as many programs misspell it

    @property
    def takes(self) -> list[str]:
        """Return for a person what is taken, kind by kind."""
        names = [f.name if len(f.name) <= _LONGEST else f.name[:_LONGEST] + "…" for f in self.model.arguments]
        shown = ", ".join(map(quoting.python_literal, names[:_MOST_NAMED])) + (", …" if names[_MOST_NAMED:] else "")
        record = f"JSON with {shown}" + (", or a list of such objects" if self.lists else "")
        pictures = [name for name in self.media_types if name.startswith("image/")]
        words = [f"a picture ({', '.join(pictures)})"] if pictures else []
        words += ["a text (text/plain)"] if self.takes_text else []
        words += [f"{record} (application/json)"]
        words += ["a table whose first line names its columns (text/csv)"] if self.table else []
        return [*words, "a form (multipart/form-data)"]

    @property
    def form_words(self) -> str:
        """Return for a reader what a form holds."""
        if self.takes_picture or self.takes_text:
            return f"each part is a {'picture' if self.takes_picture else 'text'}"
        return "a file that is read as a body is, or fields with the names of the inputs"
