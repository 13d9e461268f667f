"""Keras, SavedModel and TFLite files of one network give the same layers."""

import os
from collections import Counter

import pytest

from strata import operations as op
from strata.errors import ArtefactError
from strata.importer import load_network

FORMATS = ["net.keras", "net.h5", "net_saved_model", "net.tflite"]


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    tensorflow = pytest.importorskip("tensorflow")
    import keras
    import numpy as np

    folder = tmp_path_factory.mktemp("tensorflow")
    layers = keras.layers
    image = keras.Input((15, 15, 3))
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False)(image)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", bias_initializer="ones")(x)
    skip = x
    x = layers.Conv2D(8, 1, bias_initializer="random_normal")(x)
    x = layers.Add()([x, skip])
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dense(5, activation="softmax", bias_initializer="random_normal")(x)
    model = keras.Model(image, x)
    model.save(folder / "net.keras")
    model.save(folder / "net.h5")
    model.export(str(folder / "net_saved_model"), verbose=False)
    converter = tensorflow.lite.TFLiteConverter.from_keras_model(model)
    (folder / "net.tflite").write_bytes(converter.convert())
    converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
    data = np.random.default_rng(1).random((4, 1, 15, 15, 3), np.float32)
    converter.representative_dataset = lambda: ([image] for image in data)
    converter.target_spec.supported_ops = [tensorflow.lite.OpsSet.TFLITE_BUILTINS_INT8]
    (folder / "int8.tflite").write_bytes(converter.convert())
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_layers_shapes_and_macs(files, name):
    graph = load_network(files / name)
    assert not graph.opaque
    assert Counter(layer.operation for layer in graph.layers) == {
        "input": 1,
        "transpose": 1,
        "convolution": 2,
        "activation": 1,
        "depthwise_convolution": 1,
        "add": 1,
        "global_average_pooling": 1,
        "dense": 1,
        "softmax": 1,
    }
    # SAME: ceil(15 / 2) = 8 rows; 512 outputs of 27, 9 and 8 MACs, then 8 * 5
    assert graph.work.macs == 512 * (27 + 9 + 8) + 40
    first = next(layer for layer in graph.layers if layer.operation == "convolution")
    # (8 - 1) * 2 + 3 - 15 = 2: one row above, one below
    assert first.parameters.padding == (1, 1, 1, 1)
    assert graph.layers[-1].output_shape == (1, 5)
    assert {layer.activation_bits for layer in graph.layers} == {32}


def test_quantised_tflite_has_8_bits(files):
    graph = load_network(files / "int8.tflite")
    weighted = [
        layer for layer in graph.layers if isinstance(layer.parameters, op.Convolution | op.Dense)
    ]
    assert len(weighted) == 4
    assert {(layer.activation_bits, layer.weight_bits) for layer in weighted} == {(8, 8)}
    assert graph.work.macs == 512 * (27 + 9 + 8) + 40
    assert not graph.opaque


def test_truncated_files(files, tmp_path):
    for name in ("net.keras", "net.h5", "net.tflite"):
        whole = (files / name).read_bytes()
        path = tmp_path / name
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ArtefactError, match=name) as caught:
            load_network(path)
        assert "\n" not in str(caught.value)
