"""What an instruction set means for 8-bit arithmetic."""

ARM = frozenset({"neon", "neon-dotprod", "neon-i8mm"})
_EXACT_X86 = frozenset({"avx-vnni", "avx512-vnni", "amx"})
"""x86 that adds products of 8 bits in 32. The others add pairs of them in 16 bits, which saturates (vpmaddubsw)."""


def reduced_range(device: str, isa: str | None) -> bool:
    """Whether weights get 7 bits, so that no pair of products saturates: 2 · 255 · 64 < 2¹⁵.

    Where nothing is said the machines may be x86 without VNNI; with 7 bits they all give the same.
    """
    return device == "cpu" and isa not in ARM | _EXACT_X86
