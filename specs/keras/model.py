"""A Keras network with two convolutions that reads 8 x 8 pictures of handwritten digits."""

import keras
from keras import layers


def digit_net(width: int = 16) -> keras.Model:
    """Pictures [batch, 8, 8, 1], ink from 0 to 16, to ten probabilities."""
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 16)(image)
    x = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(2 * width, 3, padding="same", activation="gelu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.2)(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="probabilities")(x))
