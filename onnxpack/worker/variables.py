"""The environment variables of a task's process: what Python, its libraries and this package need, and no secret.

A process that loads a model may run anybody's code, so it gets the variables on a list and no others. A task that
runs code of this package only, such as a download, sees all (``Task.TRUSTED``).
"""

import os
from collections.abc import Mapping
from pathlib import Path

from onnxpack.core.redact import find_secret, is_secret_name

EXTRA_VARIABLE = "ONNXPACK_PASS_ENV"
"""Names, separated by commas, of more variables that models may see; the user sets it, and no spec can."""
TIMEOUT_VARIABLE = "ONNXPACK_TASK_TIMEOUT"
"""Seconds that a task may take."""
_NAMES = frozenset({
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV",
    # Python: where modules are, and how text and warnings are treated.
    "PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUTF8", "PYTHONIOENCODING", "PYTHONWARNINGS",
    "PYTHONFAULTHANDLER", "PYTHONMALLOC", "PYTHONPYCACHEPREFIX",
    # Threads and devices.
    "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "CUDA_HOME", "CUDA_PATH", "NUMEXPR_NUM_THREADS",
    # Where weights that a framework fetched are kept, and that it must not fetch any.
    "XDG_CACHE_HOME", "TORCH_HOME", "KERAS_HOME", "TRANSFORMERS_CACHE", "TRANSFORMERS_OFFLINE",
    "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_DATASETS_CACHE", "HF_DATASETS_OFFLINE",
    # Which authorities are trusted.
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE",
    # What a task asks for that starts a process of its own; where builds keep their files is no model's business.
    EXTRA_VARIABLE, TIMEOUT_VARIABLE,
})  # fmt: skip
_PREFIXES = ("LC_", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")
_PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})
"""Passed on in both spellings, unless there is a login in it, since factories may download pretrained weights."""


def make_child_environment(changes: Mapping[str, str | None], temporary: Path, *, whole: bool) -> dict[str, str]:
    """Return the variables of a task's process; ``whole`` passes on all, and None in ``changes`` unsets one.

    Temporary files are made in ``temporary``, which is removed with them.
    """
    merged = {
        **(os.environ if whole else filter_variables(os.environ)),
        "TMPDIR": str(temporary),
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONHASHSEED": "0",  # exporters iterate over sets
        "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written beside a user's code, nor in the store
        **changes,
    }
    return {name: value for name, value in merged.items() if value is not None}


def filter_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those of the variables that models may see."""
    passed = {name.strip() for name in environment.get(EXTRA_VARIABLE, "").split(",")}
    return {name: value for name, value in environment.items() if name in passed or _is_harmless(name, value)}


def _is_harmless(name: str, value: str) -> bool:
    if name.lower() in _PROXIES:
        return not _has_login(value)
    return (name in _NAMES or name.startswith(_PREFIXES)) and not is_secret_name(name)


def _has_login(proxy: str) -> bool:
    try:
        # Without a scheme a proxy is a host, before which a login stands all the same.
        return "@" in proxy or find_secret(proxy) is not None
    except ValueError:
        return True
