"""Random Keras models, converted by TensorFlow, read and compared with TFLM."""

import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from micronas.export.verify import verify_and_measure
from micronas.graph.counts import count
from micronas.hardware.targets import HOST, plan
from micronas.tflite.reader import read
from testing.exactness import Exactness


def measure(networks: int, seed: int) -> Exactness:
    """Convert, read and compare this many random models."""
    found = Exactness()
    for number in range(networks):
        network = keras_model(seed + number)
        model = converted(network, seed + number)
        graph = read(model)
        inputs = np.random.default_rng(number).integers(-128, 128, (4, *network.input_shape[1:]))
        checked, arena = verify_and_measure(model, inputs.astype(np.int8))
        predicted = plan(graph, HOST)
        found.networks += 1
        found.bytes += checked.bytes_compared
        found.mismatches += checked.mismatches
        found.wrong_macs += count(graph).macs != keras_macs(network)
        found.wrong_heads += predicted.head != arena.head
        found.worst_total = max(found.worst_total, abs(predicted.total - arena.total))
    return found


def keras_model(seed: int) -> Any:
    """Build a random network of convolutions, separable ones, sums, pools and dense layers."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(seed)
    source = random.Random(seed)
    side, depth = source.randint(12, 28), source.randint(1, 4)
    start = x = layers.Input((side, side + source.randint(0, 4), depth), batch_size=1)
    for _ in range(source.randint(2, 5)):
        width, kernel = source.randint(3, 20), source.choice((1, 3, 5))
        strides, padding = source.choice((1, 1, 2)), source.choice(("same", "same", "valid"))
        layer = source.choice((layers.Conv2D, layers.SeparableConv2D))
        activation = source.choice((None, "relu", "relu6"))
        if min(x.shape[1:3]) < kernel:
            break
        x = layer(width, kernel, strides=strides, padding=padding, activation=activation)(x)
        if source.random() < 0.5:
            branch = layers.Conv2D(width, 3, padding="same", activation="relu")(x)
            x = layers.Add()([x, branch])
        if source.random() < 0.4 and min(x.shape[1:3]) >= 4:
            x = source.choice((layers.MaxPooling2D, layers.AveragePooling2D))(2)(x)
    x = source.choice((layers.GlobalAveragePooling2D, layers.Flatten))()(x)
    if source.random() < 0.5:
        x = layers.Dense(source.randint(4, 20), activation="relu")(x)
    x = layers.Dense(source.randint(2, 12), activation=source.choice((None, "softmax")))(x)
    return keras.Model(start, x)


def keras_macs(network: Any) -> int:
    """Multiply-accumulates by the layers' own shapes."""
    return sum(_layer_macs(layer) for layer in network.layers)


def _layer_macs(layer: Any) -> int:
    kind = type(layer).__name__
    if kind == "Dense":
        return int(layer.input.shape[-1] * layer.units)
    if kind not in ("Conv2D", "SeparableConv2D"):
        return 0
    _, height, width, channels = layer.output.shape
    taps, depth = layer.kernel_size[0] * layer.kernel_size[1], layer.input.shape[-1]
    if kind == "Conv2D":
        return int(height * width * channels * taps * depth)
    return int(height * width * depth * (taps + channels))


def converted(network: Any, seed: int) -> bytes:
    """Convert to int8 with ranges from random inputs."""
    import tensorflow as tf

    def examples() -> Iterator[list[Any]]:
        source = np.random.default_rng(seed)
        for _ in range(8):
            yield [source.normal(size=network.input_shape).astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(network)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = examples
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return bytes(converter.convert())
