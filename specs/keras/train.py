"""Train the digits network and write its weights, `weights/digits.weights.h5`.

The same numbers come out of every run with the same package versions on the same kind of CPU.
"""

import os
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf
from model import digit_net
from sklearn.datasets import load_digits

SEED = 0
EPOCHS = 40
HELD_BACK = 450
WEIGHTS_FILE = Path(__file__).resolve().parent / "weights" / "digits.weights.h5"


def main() -> None:
    """Train, report the accuracy on held-back pictures, and save the weights."""
    keras.utils.set_random_seed(SEED)
    tf.config.experimental.enable_op_determinism()

    pixels, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(SEED).permutation(len(digits))
    images, labels = pixels[order].astype("float32").reshape(-1, 8, 8, 1), digits[order]

    net = digit_net()
    net.compile(keras.optimizers.Adam(0.003), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    net.fit(images[HELD_BACK:], labels[HELD_BACK:], batch_size=32, epochs=EPOCHS, verbose=0)
    _, accuracy = net.evaluate(images[:HELD_BACK], labels[:HELD_BACK], verbose=0)

    WEIGHTS_FILE.parent.mkdir(exist_ok=True)
    bare = digit_net()  # without the optimizer's state, which is twice as large
    bare.set_weights(net.get_weights())
    bare.save_weights(WEIGHTS_FILE)
    print(f"{WEIGHTS_FILE.name}: {net.count_params():,} parameters, {WEIGHTS_FILE.stat().st_size:,} bytes")
    print(f"held-back accuracy: {accuracy:.4f} on {HELD_BACK} pictures")


if __name__ == "__main__":
    main()
