"""The names of images: a registry's host, a repository in it, and a tag or a digest."""

import re
from dataclasses import dataclass, replace

from onnxpack.core.errors import SpecError

DEFAULT_REGISTRY, _DEFAULT_TAG = "docker.io", "latest"
_OFFICIAL = "library"
"""The repository that Docker Hub keeps images of one word in."""
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]{{1,5}})?"
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
# The grammar of https://github.com/distribution/reference.
_REFERENCE = re.compile(
    rf"(?:(?P<registry>{_HOST})/)?(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?",
    re.ASCII,
)
_LONGEST = 512


@dataclass(frozen=True)
class ImageReference:
    """The name of an image; of ``tag`` and ``digest`` the latter decides, and without both the tag is ``latest``."""

    registry: str
    """The host with its port, as ``docker.io`` or ``localhost:5000``."""
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        """Return the reference in full."""
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.name}{tag}{digest}"

    @property
    def name(self) -> str:
        """Return registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def wanted(self) -> str:
        """Return what a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag or _DEFAULT_TAG

    def at(self, digest: str) -> "ImageReference":
        """Return the image of this digest in the same repository."""
        return replace(self, tag=None, digest=digest)


def parse_reference(text: str) -> ImageReference:
    """Read a reference as Docker does: without a host it is one of Docker Hub.

    Raises:
        SpecError: it is none.
    """
    found = _REFERENCE.fullmatch(text) if len(text) <= _LONGEST else None
    if not found:
        hint = "use registry.example.com/team/name:tag, in lower case, or name@sha256:… with 64 hex digits"
        raise SpecError(f"'{text[:200]}' is not the name of an image", hint)
    registry, repository = found["registry"], found["repository"]
    if registry and not _is_host(registry):
        registry, repository = None, f"{registry}/{repository}"
    if registry in (None, "index.docker.io", DEFAULT_REGISTRY):
        registry = DEFAULT_REGISTRY
        repository = repository if "/" in repository else f"{_OFFICIAL}/{repository}"
    tag = found["tag"] or (None if found["digest"] else _DEFAULT_TAG)
    return ImageReference(registry, repository, tag, found["digest"])


def _is_host(word: str) -> bool:
    """Return whether the first part of a name is a host: it has a dot or a port, or is ``localhost``."""
    return any(sign in word for sign in ".:[") or word == "localhost" or word != word.lower()
