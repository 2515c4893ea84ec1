"""Find where YAML documents name an image, and change that text and nothing else.

PyYAML's nodes say where each of them stands, so that comments, order, quotes and line ends stay as they are. Known are
``image: REFERENCE`` (Pods of any kind, InferenceServices, Compose), ``images:`` of kustomizations, Flux and Argo CD,
and ``repository`` with ``digest`` or ``tag`` (values of Helm charts).
"""

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

from onnxpack.core.errors import SpecError
from onnxpack.oci.reference import ImageReference, parse_reference

_DIGEST = re.compile(r"@sha256:[0-9a-f]*$")
_TAG = re.compile(r":[A-Za-z0-9_][A-Za-z0-9._-]*$")
_NAMES = ("name", "nameOverride", "fullnameOverride", "app.kubernetes.io/instance")
"""The keys whose values say whose image is meant, where several have one repository."""
_HELM_SUFFIX = "@sha256"
"""What a repository ends with in values of a chart that puts a colon and the tag behind it."""
_DEEPEST = 100


@dataclass(frozen=True)
class Place:
    """An image that a document names: what is there, and the names around it."""

    reference: ImageReference
    names: frozenset[str]
    line: int
    """Counted from 1."""


@dataclass(frozen=True)
class Edit:
    """A part of a text, from ``start`` to ``end``, that becomes another one; and its words for a person."""

    start: int
    end: int
    new: str
    line: int
    old: str
    shown: str


Choose = Callable[[Place], ImageReference | None]
"""Returns the image that belongs at a place, with its digest and perhaps its tag; None to leave it."""


def find_edits(text: str, choose: Choose) -> list[Edit]:
    """Return what is to be changed in a text of YAML documents.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    finder = _Finder(text, choose)
    # As a list: ids tell nodes apart only while all of them are there.
    for node in list(yaml.compose_all(text, Loader=yaml.SafeLoader)):
        if node is not None:
            finder.walk(node, frozenset(), 0)
    found = [finder.edits[start] for start in sorted(finder.edits)]
    return [edit for edit in found if edit.old != edit.shown]


def apply_edits(text: str, edits: list[Edit]) -> str:
    """Return the text with its edits."""
    for edit in sorted(edits, key=lambda edit: -edit.start):
        text = text[: edit.start] + edit.new + text[edit.end :]
    return text


@dataclass
class _Finder:
    """A walk through the nodes of a text."""

    text: str
    choose: Choose
    edits: dict[int, Edit] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)

    def walk(self, node: yaml.Node, names: frozenset[str], depth: int) -> None:
        """Look at a node and what is in it; ``names`` are those around it."""
        if depth > _DEEPEST or id(node) in self.seen:  # an alias is the node of its anchor
            return
        self.seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self.walk(item, names, depth + 1)
        elif isinstance(node, yaml.MappingNode):
            entries = {key.value: (key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)}
            names |= _list_names(entries)
            self._look(node, entries, names)
            for key, (_, value) in entries.items():
                self.walk(value, names | {key}, depth + 1)

    def _look(self, node: yaml.MappingNode, entries: "_Entries", names: frozenset[str]) -> None:
        """Change what a mapping says of an image."""
        if image := _get_scalar(entries, "image"):
            self._change_reference(image, image.value, names)
        if "repository" in entries:
            self._change_values(node, entries, names)
        images = entries.get("images", (None, None))[1]
        if isinstance(images, yaml.SequenceNode):
            for item in images.value:
                if isinstance(item, yaml.ScalarNode):  # Argo CD: [NAME=]REFERENCE
                    name, _, reference = item.value.rpartition("=")
                    self._change_reference(item, reference, names | {name})
                elif isinstance(item, yaml.MappingNode):
                    inner = {key.value: (key, value) for key, value in item.value if isinstance(key, yaml.ScalarNode)}
                    self._change_entry(item, inner, names | _list_names(inner))

    def _change_reference(self, node: yaml.ScalarNode, text: str, names: frozenset[str]) -> None:
        """Let a whole reference have the digest, and no tag: that was another image's."""
        if found := self._choose(text, node, names):
            repository = _TAG.sub("", _DIGEST.sub("", text))
            self._replace(node, text, f"{repository}@{found.digest}")

    def _change_entry(self, node: yaml.MappingNode, entries: "_Entries", names: frozenset[str]) -> None:
        """Change an entry of a kustomization's images."""
        named = _get_scalar(entries, "newName") or _get_scalar(entries, "name")
        tag = _get_scalar(entries, "newTag")
        text = f"{named.value}{f':{tag.value}' if tag else ''}" if named else ""
        if not named or not (found := self._choose(text, named, names)):
            return
        if digest := _get_scalar(entries, "digest"):
            self._replace(digest, digest.value, str(found.digest))
        elif tag:
            self._replace(tag, tag.value, str(found.digest))
            key = entries["newTag"][0]
            self._replace(key, "newTag", "digest")
        else:
            self._insert(node, named, f"digest: {found.digest}")

    def _change_values(self, node: yaml.MappingNode, entries: "_Entries", names: frozenset[str]) -> None:
        """Change the values of a chart: a digest where there is one, else the tag."""
        repository, registry = _get_scalar(entries, "repository"), _get_scalar(entries, "registry")
        tag, digest = _get_scalar(entries, "tag"), _get_scalar(entries, "digest")
        if not repository:
            return
        plain = repository.value.removesuffix(_HELM_SUFFIX)
        host = f"{registry.value}/" if registry and registry.value else ""
        is_tag = tag and tag.value and plain == repository.value and tag.tag.endswith((":str", ":float", ":int"))
        found = self._choose(f"{host}{plain}{f':{tag.value}' if tag and is_tag else ''}", repository, names)
        if not found or not found.digest:
            return
        if plain != repository.value and tag:
            self._replace(tag, tag.value, found.digest.partition(":")[2])
        elif digest:
            self._replace(digest, digest.value, found.digest)
        elif tag and found.tag:
            self._replace(tag, tag.value, found.tag)
        else:
            self._insert(node, repository, f"digest: {found.digest}")

    def _choose(self, text: str, node: yaml.ScalarNode, names: frozenset[str]) -> ImageReference | None:
        with contextlib.suppress(SpecError):
            return self.choose(Place(parse_reference(text), names, node.start_mark.line + 1))
        return None

    def _replace(self, node: yaml.ScalarNode, old: str, new: str) -> None:
        """Replace the end of a scalar; its quotes, its anchor and its tag stay."""
        start, end = node.start_mark.index, node.end_mark.index
        raw = self.text[start:end]
        line = node.start_mark.line + 1
        at = raw.rfind(old) if old else -1
        if at >= 0:
            self.edits[start] = Edit(start + at, start + at + len(old), new, line, old, new)
        elif raw in ("", "~", "null", '""', "''"):
            space = "" if raw else " "
            self.edits[start] = Edit(start, end, f"{space}{new}", line, old, new)

    def _insert(self, node: yaml.MappingNode, before: yaml.ScalarNode, words: str) -> None:
        """Insert an entry in front of the key of a value."""
        key = next(key for key, value in node.value if value is before)
        start = key.start_mark.index
        ends = "\r\n" if "\r\n" in self.text else "\n"
        between = ", " if node.flow_style else ends + " " * key.start_mark.column
        self.edits[start] = Edit(start, start, f"{words}{between}", key.start_mark.line + 1, "no digest", words)


_Entries = dict[str, tuple[yaml.ScalarNode, yaml.Node]]


def _get_scalar(entries: _Entries, key: str) -> yaml.ScalarNode | None:
    """Return the value of a key, if it is a scalar."""
    value = entries.get(key, (None, None))[1]
    return value if isinstance(value, yaml.ScalarNode) else None


def _list_names(entries: _Entries) -> frozenset[str]:
    """Return the names that a mapping gives to what is in it, those of its metadata included."""
    return frozenset(_find_names(entries, 2))


def _find_names(entries: _Entries, depth: int) -> Iterator[str]:
    for key, (_, value) in entries.items():
        if key in _NAMES and isinstance(value, yaml.ScalarNode):
            yield value.value
        elif key in ("metadata", "labels") and isinstance(value, yaml.MappingNode) and depth:
            inner = {name.value: (name, item) for name, item in value.value if isinstance(name, yaml.ScalarNode)}
            yield from _find_names(inner, depth - 1)
