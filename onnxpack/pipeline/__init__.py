"""The chain from a spec to an image: one file per stage."""

UNTIL = ("export", "verify", "precision", "optimize", "bundle", "image", "smoke")
"""The stages after which a build may stop, in their order."""
WHOLE = UNTIL[UNTIL.index("bundle") :]
"""The stages after which ``dist/<name>/<target>/`` is a bundle."""
