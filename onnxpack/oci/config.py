"""The configuration of an image: what its base says, and what the instructions of our Dockerfile change in it.

https://github.com/opencontainers/image-spec/blob/main/config.md; the health check is Docker's own addition to it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from onnxpack.core.errors import EngineError, flatten_words
from onnxpack.oci.manifests import EPOCH, Platform, read_json

_SECOND = 10**9
"""The nanoseconds of a second, the unit of a health check's times."""
CREATED = datetime.fromtimestamp(EPOCH, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
"""The time of every image: that of its building would give another digest each time."""


@dataclass(frozen=True)
class Healthcheck:
    """A command that tells whether a container is well; times are in seconds."""

    command: tuple[str, ...]
    interval: int
    timeout: int
    start_period: int
    retries: int


@dataclass(frozen=True)
class Settings:
    """What an image says besides its layers: a Dockerfile and a configuration are made of the same values."""

    env: Mapping[str, str]
    labels: Mapping[str, str]
    user: str
    ports: tuple[int, ...]
    healthcheck: Healthcheck | None
    entrypoint: tuple[str, ...]


@dataclass(frozen=True)
class NewLayer:
    """A layer that is added to a base: the digest of its tar, and the instruction that makes it."""

    diff_id: str
    instruction: str


def read_platform(config: Mapping[str, Any]) -> Platform:
    """Return the platform that a configuration names."""
    return Platform(*(str(config.get(key) or "") for key in ("os", "architecture", "variant")))


def read_diff_ids(config: bytes) -> tuple[str, ...]:
    """Return the digests of the uncompressed layers that an image's configuration names.

    Raises:
        EngineError: it is none.
    """
    values = read_json(config)
    try:
        found = tuple(str(diff_id) for diff_id in values["rootfs"]["diff_ids"])
    except (TypeError, LookupError) as error:
        raise EngineError(f"an image's configuration names no layers: {flatten_words(error, 200)}") from None
    return found


def write_config(base: bytes, settings: Settings, layers: Sequence[NewLayer]) -> bytes:
    """Return the configuration of an image as ``docker build`` would make it of the base's; the time is fixed.

    Raises:
        EngineError: the base's is none, or has instructions for images that are built on it.
    """
    values = read_json(base)
    inherited = values.get("config") or {}
    if inherited.get("OnBuild"):
        raise EngineError("the base image has ONBUILD instructions, which are not run", "set another `image.base`")
    rootfs = [str(diff_id) for diff_id in (values.get("rootfs") or {}).get("diff_ids") or ()]
    history = [entry for entry in values.get("history") or () if isinstance(entry, dict)]
    added = [{"created": CREATED, "created_by": layer.instruction} for layer in layers]
    platform = {key: values[key] for key in ("architecture", "os", "variant") if values.get(key)}
    made = {
        **platform,
        "created": CREATED,
        "config": _change(inherited, settings),
        "rootfs": {"type": "layers", "diff_ids": [*rootfs, *(layer.diff_id for layer in layers)]},
        "history": [*history, *added],
    }
    return json.dumps(made, sort_keys=True, separators=(",", ":")).encode()


def _change(inherited: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return a container's settings as the Dockerfile's instructions leave them."""
    kept = {key: inherited[key] for key in ("WorkingDir", "StopSignal", "Volumes", "Shell") if inherited.get(key)}
    env = dict(word.partition("=")[::2] for word in inherited.get("Env") or ())
    ports = {**(inherited.get("ExposedPorts") or {}), **{f"{port}/tcp": {} for port in settings.ports}}
    labels = {**(inherited.get("Labels") or {}), **settings.labels}
    health = inherited.get("Healthcheck")
    if check := settings.healthcheck:
        health = {
            "Test": ["CMD", *check.command],
            "Interval": check.interval * _SECOND,
            "Timeout": check.timeout * _SECOND,
            "StartPeriod": check.start_period * _SECOND,
            "Retries": check.retries,
        }
    return {
        **kept,
        "User": settings.user,
        "Env": [f"{name}={value}" for name, value in {**env, **settings.env}.items()],
        # A new entrypoint takes away the arguments of the base's.
        "Entrypoint": list(settings.entrypoint),
        **({"ExposedPorts": ports} if ports else {}),
        **({"Labels": labels} if labels else {}),
        **({"Healthcheck": health} if health else {}),
    }
