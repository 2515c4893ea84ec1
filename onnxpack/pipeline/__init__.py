"""The chain from a spec to an image: one file per stage."""

UNTIL = ("export", "verify", "precision", "optimize", "bundle", "image", "smoke")
"""The stages that a build may stop behind."""
WHOLE = UNTIL[UNTIL.index("bundle") :]
"""Those behind which ``dist/<name>/<target>/`` is a bundle."""
