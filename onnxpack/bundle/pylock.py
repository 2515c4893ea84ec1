"""Lock files as PEP 751 describes them, ``pylock.toml``, which uv, pip and others install: one for each target.

A lock of this package has no URLs, and such a file needs one for each wheel, so the package index is asked for them.
"""

import json
import tomllib
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from onnxpack.bundle.lock import Package, TargetLock
from onnxpack.bundle.resolve import list_wheels, name_wheel
from onnxpack.core.errors import EngineError
from onnxpack.core.platforms import find_machine
from onnxpack.core.redact import find_secret


def name_pylock(spec: str, target: str) -> str:
    """Return the file name of a target's pylock.toml; what stands between the dots has none itself."""
    return f"pylock.{f'{spec}-{target}'.replace('.', '-')}.toml"


def export_pylock(locked: TargetLock, target: str) -> str:
    """Return a target's packages as the text of a pylock.toml, with exactly the wheels of the lock.

    Raises:
        EngineError: the package index cannot be reached, or has a wheel of the lock no more.
    """
    pins = [f"{one.name}=={one.version}" for one in locked.packages]
    listed = list_wheels(pins, locked.python, locked.platform, target)
    found: dict[str, dict[str, Any]] = {}
    for package in tomllib.loads(listed).get("packages", ()):
        for wheel in package.get("wheels", ()):
            found[wheel["hashes"]["sha256"]] = {**wheel, "name": name_wheel(wheel)}
    _require_all(locked.packages, found)
    machine = find_machine(locked.platform)
    lines = [
        'lock-version = "1.0"',
        f"""environments = ["sys_platform == 'linux' and platform_machine == '{machine}'"]""",
        f'requires-python = "=={locked.python}.*"',
        'created-by = "onnxpack"',
    ]
    known = {one.name for one in locked.packages}
    for package in locked.packages:
        lines += ["", *_write_package(package, known, [found[digest] for digest in package.hashes])]
    return "\n".join(lines) + "\n"


def _require_all(packages: Iterable[Package], found: dict[str, dict[str, Any]]) -> None:
    """Make sure that the index has all wheels of a lock, at addresses that everybody may read.

    Raises:
        EngineError: one is missing, or its address has a secret in it.
    """
    for package in packages:
        for digest in package.hashes:
            if digest not in found:
                text = f"the package index has no wheel of {package.name} {package.version} with SHA-256 {digest[:12]}…"
                raise EngineError(text, "run `onnxpack lock SPEC`, or choose the index that the lock was made with")
            if secret := find_secret(str(found[digest].get("url", ""))):
                text = f"the package index gives an address with a secret in {secret} for {package.name}"
                raise EngineError(text, "log in by ~/.netrc or the index's own variables, not by its address")


def _write_package(package: Package, known: set[str], wheels: list[dict[str, Any]]) -> list[str]:
    lines = ["[[packages]]", f"name = {_quote(package.name)}", f"version = {_quote(package.version)}"]
    if needed := [name for name in package.requires if name in known]:
        lines.append(f"dependencies = [{', '.join(f'{{ name = {_quote(name)} }}' for name in needed)}]")
    lines.append("wheels = [")
    for wheel in wheels:
        size = f"size = {wheel['size']}, " if "size" in wheel else ""
        fields = f"name = {_quote(wheel['name'])}, url = {_quote(_clean_url(wheel))}, {size}"
        lines.append(f"    {{ {fields}hashes = {{ sha256 = {_quote(wheel['hashes']['sha256'])} }} }},")
    return [*lines, "]"]


def _clean_url(wheel: dict[str, Any]) -> str:
    return urlsplit(str(wheel["url"]))._replace(fragment="").geturl()


def _quote(text: str) -> str:
    """Return a string of TOML, whose escapes are those of JSON."""
    return json.dumps(text)
