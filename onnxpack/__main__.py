"""``onnxpack`` and ``python -m onnxpack``."""

from onnxpack.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
