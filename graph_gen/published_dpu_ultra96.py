"""Families of networks with drawn widths whose latency was measured on an Ultra96's DPU B2304.

Published with the thesis repository of Serendi-pity1995: VGG-11 to 19, AlexNet, GoogLeNet and a
"synthetic" chain on one-channel images of 32 to 512 pixels. A row of the data holds the filters of
the convolutions and the units of the dense layers in the order in which Keras created them.
"""

from collections.abc import Callable, Iterator, Sequence

from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import SchemaError, legal
from strata.graph import Graph


class _Widths:
    """Hands out widths in order; an error names what is missing or left over."""

    def __init__(self, values: Sequence[int], kind: str) -> None:
        self._left: Iterator[int] = iter(values)
        self._kind = kind
        self._count = len(values)

    def take(self) -> int:
        width = next(self._left, None)
        if width is None:
            raise SchemaError(f"{self._count} widths of {self._kind} are too few")
        return width

    def finish(self) -> None:
        left = len(list(self._left))
        if left:
            raise SchemaError(f"{self._count} widths of {self._kind} are {left} too many")


class _Chain:
    """A network under construction: where it stands and which widths are left."""

    def __init__(self, name: str, size: int, filters: Sequence[int], units: Sequence[int]) -> None:
        self.builder = GraphBuilder(name)
        self.filters = _Widths(filters, "convolutions")
        self.units = _Widths(units, "dense layers")
        self.end = self.builder.input(1, 1, size, size, name="image")
        self._number = 0

    def _name(self, kind: str) -> str:
        self._number += 1
        return f"{kind}_{self._number}"

    def convolution(
        self, kernel: int, stride: int = 1, padding: str = "same", relu: bool = True
    ) -> str:
        """A convolution of the next width."""
        self.end = self.builder.convolution(
            self.end,
            self.filters.take(),
            kernel,
            stride,
            padding,
            activation="relu" if relu else None,
            name=self._name("conv"),
        )
        return self.end

    def pool(
        self, kernel: int = 2, stride: int = 2, kind: str = "max", padding: str = "valid"
    ) -> None:
        self.end = self.builder.pooling(
            self.end, kind, kernel, stride, padding, name=self._name("pool")
        )

    def add(self, parameters: op.Parameters, kind: str) -> None:
        self.end = self.builder.add(parameters, self.end, name=self._name(kind))

    def normalise(self) -> None:
        self.add(op.BatchNormalization(), "normalise")

    def dense(self, relu: bool = True) -> None:
        """A dense layer of the next width."""
        self.end = self.builder.dense(
            self.end, self.units.take(), "relu" if relu else None, name=self._name("dense")
        )

    def answer(self, hidden: int = 0) -> None:
        """Hidden dense layers, the classes and their softmax."""
        for _ in range(hidden):
            self.dense()
        self.dense(relu=False)
        self.add(op.Softmax(), "softmax")


# Convolutions per stage; a pooling ends each.
_VGG_STAGES = {"vgg13": (2, 2, 2, 2, 2), "vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}


def _vgg(stages: Sequence[int]) -> Callable[[_Chain], None]:
    def fill(chain: _Chain) -> None:
        for count in stages:
            for _ in range(count):
                chain.convolution(3)
            chain.pool()
        chain.add(op.Flatten(), "flatten")
        chain.answer(hidden=2)

    return fill


def _vgg11(chain: _Chain) -> None:
    """Explicit zero padding before "same" convolutions, two 1x1 convolutions as dense layers."""
    for pooled in (True, True, False, True, False, True, False, True):
        chain.add(op.Pad((0, 0, 1, 1), (0, 0, 1, 1)), "pad")
        chain.convolution(3)
        if pooled:
            chain.pool()
    chain.convolution(1)
    chain.convolution(1, relu=False)
    chain.add(op.Flatten(), "flatten")
    chain.answer()


def _synthetic(chain: _Chain) -> None:
    for _ in range(5):
        chain.convolution(3, padding="valid")
        chain.pool()
    chain.add(op.Flatten(), "flatten")
    chain.answer(hidden=3)


def _alexnet(chain: _Chain) -> None:
    for kernel, stride in ((11, 4), (5, 1)):
        chain.convolution(kernel, stride, "valid")
        chain.pool(3)
        chain.normalise()
    for _ in range(3):
        chain.convolution(3, padding="valid")
    chain.pool(3)
    chain.normalise()
    chain.add(op.Flatten(), "flatten")
    chain.answer(hidden=2)


def _inception(chain: _Chain) -> None:
    start, ends = chain.end, []
    for kernels in ((1,), (1, 3), (1, 5)):
        chain.end = start
        for kernel in kernels:
            chain.convolution(kernel)
        ends.append(chain.end)
    chain.end = start
    chain.pool(3, 1, padding="same")
    ends.append(chain.convolution(1))
    chain.end = chain.builder.add(op.Concat(1), *ends, name=chain._name("concat"))


def _auxiliary(chain: _Chain) -> None:
    """A classifier beside the network; it goes on from where it was."""
    start = chain.end
    chain.pool(5, 3, "average")
    chain.convolution(1)
    chain.add(op.Flatten(), "flatten")
    chain.answer(hidden=1)
    chain.end = start


def _googlenet(chain: _Chain) -> None:
    """GoogLeNet with both auxiliary classifiers, as it was measured."""
    chain.convolution(7, 2, "valid")
    chain.pool(3)
    chain.convolution(1)
    chain.convolution(3)
    chain.pool(3)
    for modules, auxiliary, pooled in (
        (2, False, True),
        (1, True, False),
        (3, True, False),
        (1, False, True),
        (2, False, False),
    ):
        for _ in range(modules):
            _inception(chain)
        if auxiliary:
            _auxiliary(chain)
        if pooled:
            chain.pool(3)
    chain.add(op.GlobalPooling("average"), "pool")
    chain.add(op.Flatten(), "flatten")
    chain.answer()


_FAMILIES: dict[str, Callable[[_Chain], None]] = {
    **{name: _vgg(stages) for name, stages in _VGG_STAGES.items()},
    "vgg11": _vgg11,
    "synthetic": _synthetic,
    "alexnet": _alexnet,
    "googlenet": _googlenet,
}


def ultra96_network(model: str, size: int, filters: Sequence[int], units: Sequence[int]) -> Graph:
    """A network of a family on a `size` x `size` image of one channel, with the given widths.

    SchemaError for an unknown family, a wrong number of widths, or an image that is too small.
    """
    fill = _FAMILIES.get(model.lower())
    if fill is None:
        raise SchemaError(f"family '{model}' is unknown; legal: {legal(_FAMILIES)}")
    chain = _Chain(f"{model}_{size}", size, filters, units)
    fill(chain)
    chain.filters.finish()
    chain.units.finish()
    return chain.builder.build()
