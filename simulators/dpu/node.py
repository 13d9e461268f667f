"""A node of the executable graph as the machine sees it: sizes of windows and feature maps."""

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True)
class Window:
    """Kernel, stride and dilation, (height, width) each."""

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)

    def rows(self, outputs: int) -> int:
        """Input rows that `outputs` consecutive output rows read, padding among them."""
        return (outputs - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def columns(self, outputs: int) -> int:
        """Input columns that `outputs` consecutive output columns read, padding among them."""
        return (outputs - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] + 1

    @property
    def taps(self) -> int:
        """Positions of the kernel."""
        return prod(self.kernel)


@dataclass(frozen=True, slots=True)
class Alu:
    """One pass of the engine beside the array over a feature map on chip.

    `height`, `width` and `channels` are those of its output; `weights` says whether it reads
    constants per channel, `inline` whether it works in the write-back path of the array.
    """

    height: int
    width: int
    channels: int
    window: Window = Window()
    weights: bool = False
    inline: bool = False


@dataclass(frozen=True, slots=True)
class Node:
    """Sizes of a node, in elements of one byte, for one image of the batch.

    `height` and `width` are those of what the array computes (or, with `filters` 0, of what the
    first pass of the other engine computes). `phases` is the number of convolutions that make it
    up: the interleaved ones of a transposed convolution, the passes of a long dense layer. `stored`
    is the number of elements written, `residual` those of the second operand of an addition.
    `image` marks the first layer, which channel augmentation serves.
    """

    batch: int
    channels: int
    input_height: int
    input_width: int
    height: int
    width: int
    filters: int
    window: Window
    stored: int
    residual: int = 0
    phases: int = 1
    image: bool = False
    alu: tuple[Alu, ...] = ()

    @property
    def array_macs(self) -> int:
        """Multiply-accumulates of the array in one inference."""
        pixels = self.batch * self.height * self.width
        return pixels * self.window.taps * self.channels * self.filters * self.phases

    @property
    def alu_operations(self) -> int:
        """Window positions times elements of the other engine's own passes in one inference."""
        return self.batch * sum(
            alu.height * alu.width * alu.channels * alu.window.taps
            for alu in self.alu
            if not alu.inline
        )
