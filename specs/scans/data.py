"""Write what the model is calibrated and evaluated with: `data/calibration.npz` and `data/evaluation.npz`.

The pictures are what a client sends: bytes from 0 to 16. What `specs/digits/train.py` held back is the evaluation data.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

DATA = Path(__file__).resolve().parent / "data"
ROWS = 256


def main() -> None:
    """Split as the training did, and save."""
    pixels, digits = load_digits(return_X_y=True)
    images = pixels.astype(np.uint8).reshape(-1, 1, 8, 8)
    kept, held_back = train_test_split(range(len(digits)), test_size=0.25, stratify=digits, random_state=0)
    DATA.mkdir(exist_ok=True)
    np.savez_compressed(DATA / "calibration.npz", image=images[kept[:ROWS]])
    np.savez_compressed(DATA / "evaluation.npz", image=images[held_back], digit=digits[held_back].astype(np.int64))


if __name__ == "__main__":
    main()
