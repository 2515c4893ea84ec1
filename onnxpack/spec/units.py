"""Sizes and durations as people write them, with units."""

import re

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_BYTES = {"": 1} | {p: 1000**n for n, p in enumerate("KMGT", 1)} | {f"{p}I": 1024**n for n, p in enumerate("KMGT", 1)}
DURATION_UNITS = "|".join(_SECONDS)
"""The units of durations, as a pattern."""
SIZE_UNITS = "([kKMGT]i?)?B?|([kmgt])b"
"""The units of sizes, as a pattern; not ``Mb``, which is a megabit."""
_NUMBER = r"([0-9]{1,15}(?:\.[0-9]{1,15})?)"  # digits that a float holds, so that no text overflows one
_DURATION = re.compile(rf"{_NUMBER}\s*({DURATION_UNITS})")
_SIZE = re.compile(rf"{_NUMBER}\s*(?:{SIZE_UNITS})")


def read_size(text: str) -> int | None:
    """Read a number of bytes from a text such as ``150MB`` or ``64MiB``; return None if it is no size."""
    match = _SIZE.fullmatch(text)
    return int(float(match[1]) * _BYTES[(match[2] or match[3] or "").upper()]) if match else None


def read_duration(text: str) -> float | None:
    """Read a number of seconds from a text such as ``2s`` or ``5ms``; return None if it is no duration."""
    match = _DURATION.fullmatch(text)
    return float(match[1]) * _SECONDS[match[2]] if match else None


def format_size(count: int) -> str:
    """Format a number of bytes exactly, with the largest unit that divides it: ``64MiB``, ``150MB``, ``10B``."""
    fitting = [(factor, unit) for unit, factor in _BYTES.items() if count and count % factor == 0]
    factor, unit = max(fitting, default=(1, ""))
    return f"{count // factor}{unit.replace('I', 'i')}B"


def format_duration(seconds: float) -> str:
    """Format a number of seconds with a unit: ``1h``, ``2min``, ``90s``, ``0.5s``."""
    fitting = [(factor, unit) for unit, factor in _SECONDS.items() if factor >= 1 and seconds and not seconds % factor]
    factor, unit = max(fitting, default=(1.0, "s"))
    return f"{seconds / factor:g}{unit}"
