"""Know what a CPU's instruction set means for 8-bit arithmetic, and which ones this machine has."""

import re
from pathlib import Path

ARM = frozenset({"neon", "neon-dotprod", "neon-i8mm"})
_EXACT_X86 = frozenset({"avx-vnni", "avx512-vnni", "amx"})
"""x86 that adds products of 8 bits in 32. The others add pairs of them in 16 bits, which saturates (vpmaddubsw)."""


def needs_reduced_range(device: str, isa: str | None) -> bool:
    """Return whether weights get 7 bits, so that no pair of products saturates: 2 · 255 · 64 < 2¹⁵.

    Where nothing is said the machines may be x86 without VNNI; with 7 bits they all give the same.
    """
    return device == "cpu" and isa not in ARM | _EXACT_X86


_FLAGS = {
    "avx2": "avx2",
    "avx512": "avx512f",
    "avx-vnni": "avx_vnni",
    "avx512-vnni": "avx512_vnni",
    "amx": "amx_int8",
    "neon": "asimd",
    "neon-dotprod": "asimddp",
    "neon-i8mm": "i8mm",
}
"""The words of Linux for them, in /proc/cpuinfo."""
_WIDE = frozenset({"avx512", "avx512-vnni", "amx"})


def detect_isas(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Return the instruction sets that this machine has, by the spec's words."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    words = set(found[1].split()) if found else set()
    return frozenset(name for name, flag in _FLAGS.items() if flag in words)


def lays_out_for(isa: str | None, machine: frozenset[str]) -> bool:
    """Return whether this machine arranges weights in blocks as wide as a machine of ``isa`` reads them."""
    return isa in machine and (isa in _WIDE) == bool(machine & _WIDE)
