"""Keras architectures for the table of docs/sources.md: factories of models with weights of a fixed seed."""

import keras
from keras import layers


def mlp():
    """Two dense layers with gelu."""
    x = keras.Input((16,), name="x")
    return keras.Model(x, layers.Dense(3)(layers.Dense(32, activation="gelu")(x)))


def cnn():
    """Convolution, batch norm, pooling, softmax."""
    x = keras.Input((32, 32, 3), name="x")
    inner = layers.BatchNormalization()(layers.Conv2D(8, 3, activation="relu")(x))
    return keras.Model(x, layers.Dense(10, activation="softmax")(layers.Flatten()(layers.MaxPooling2D()(inner))))


def conv1d():
    """A causal convolution along time."""
    x = keras.Input((24, 4), name="x")
    return keras.Model(x, layers.GlobalMaxPooling1D()(layers.Conv1D(8, 3, padding="causal")(x)))


def lstm():
    """A sequence to a sequence."""
    x = keras.Input((12, 4), name="x")
    return keras.Model(x, layers.LSTM(8, return_sequences=True)(x))


def bidirectional_gru():
    """A sequence to a vector."""
    x = keras.Input((12, 4), name="x")
    return keras.Model(x, layers.Bidirectional(layers.GRU(8))(x))


def attention():
    """Self-attention with its residual and layer norm."""
    x = keras.Input((12, 8), name="x")
    return keras.Model(x, layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 4)(x, x)))


def mobilenet_v2():
    """From keras.applications, a third as wide."""
    return keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, weights=None, classes=10)


def efficientnet_b0():
    """From keras.applications."""
    return keras.applications.EfficientNetB0(input_shape=(64, 64, 3), weights=None, classes=10)
