"""The chain from a spec to an image: one file per stage, each with the tasks that it asks child processes for."""
