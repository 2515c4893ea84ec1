"""The platforms that images are for, and the one whose programs this machine runs by itself."""

import platform

MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
"""Maps a platform to Linux' name for its machine, which wheels, programs and qemu have too."""


def find_machine(name: str) -> str:
    """Return Linux' name for the machine of a platform, as ``x86_64``; that of an unknown one is its last word."""
    return MACHINES.get(name, name.split("/")[1] if "/" in name else name)


def find_own_platform() -> str:
    """Return the platform of this machine, as ``linux/amd64``."""
    machine = platform.machine()
    return next((name for name, known in MACHINES.items() if known == machine), f"linux/{machine}")
