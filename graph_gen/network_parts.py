"""Pieces that most networks share: the convolution unit and the classifier."""

from collections.abc import Sequence

from strata import operations as op
from strata.builder import GraphBuilder


def convolution_unit(
    builder: GraphBuilder,
    source: str,
    filters: int,
    kernel: int | Sequence[int],
    stride: int = 1,
    padding: int | str = "same",
    activation: str | None = "relu",
    *,
    name: str,
) -> str:
    """Convolution without bias, batch normalisation and, unless None, an activation."""
    return builder.convolution(
        source,
        filters,
        kernel,
        stride,
        padding,
        bias=False,
        normalise=True,
        activation=activation,
        name=name,
    )


def depthwise_unit(
    builder: GraphBuilder, source: str, stride: int, activation: str, *, name: str
) -> str:
    """Depthwise 3x3 convolution without bias, batch normalisation and an activation."""
    return builder.depthwise(
        source, 3, stride=stride, bias=False, normalise=True, activation=activation, name=name
    )


def classifier(builder: GraphBuilder, source: str, classes: int = 1000) -> str:
    """Global average pooling, dense layer and softmax over (batch, classes)."""
    pooled = builder.add(op.GlobalPooling("average"), source, name="classifier/pooling")
    flat = builder.add(op.Flatten(), pooled, name="classifier/flatten")
    logits = builder.dense(flat, classes, name="classifier/dense")
    return builder.add(op.Softmax(), logits, name="classifier/softmax")


def convolutional_classifier(builder: GraphBuilder, source: str, classes: int) -> str:
    """The classifier of TensorFlow's MobileNets: a 1x1 convolution in the dense layer's place."""
    pooled = builder.add(op.GlobalPooling("average"), source, name="classifier/pooling")
    logits = builder.convolution(pooled, classes, 1, name="classifier/convolution")
    flat = builder.add(op.Flatten(), logits, name="classifier/flatten")
    return builder.add(op.Softmax(), flat, name="classifier/softmax")
