"""Keras application networks as OpenVINO IR, random weights: networks no benchmark was made from.

Command: python -m graph_gen.keras_networks EfficientNetB0 --output results/networks
"""

import os
from pathlib import Path
from typing import Annotated

import typer

from strata.console import exits_cleanly
from strata.errors import SchemaError, legal

KERAS_NETWORKS = (
    "DenseNet121",
    "EfficientNetB0",
    "EfficientNetV2B0",
    "InceptionResNetV2",
    "MobileNetV3Large",
    "MobileNetV3Small",
    "NASNetMobile",
    "ResNet50V2",
    "VGG16",
    "Xception",
)


@exits_cleanly
def export(
    name: Annotated[str, typer.Argument(help="Class of keras.applications.")],
    output: Annotated[Path, typer.Option(help="Folder for NAME.xml and NAME.bin.")],
) -> None:
    """Build a Keras application with random weights and save it as OpenVINO IR.

    Example: python -m graph_gen.keras_networks VGG16 --output networks
    """
    if name not in KERAS_NETWORKS:
        raise SchemaError(f"Keras network '{name}' is unknown; legal: {legal(KERAS_NETWORKS)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import keras
    import openvino

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None)
    # some leave height and width open: those were published for 224 pixels
    size = [extent or 224 for extent in model.input_shape[1:]]
    converted = openvino.convert_model(model, input=[1, *size])
    converted.set_friendly_name(name)
    output.mkdir(parents=True, exist_ok=True)
    openvino.save_model(converted, str(output / f"{name}.xml"), compress_to_fp16=True)


if __name__ == "__main__":
    typer.run(export)
