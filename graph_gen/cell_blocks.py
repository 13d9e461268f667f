"""The blocks that random cell networks are made of, each in the manner of a published family.

Every block takes a tensor, a wished channel count and a stride of 1 or 2 and returns a tensor of
ceil(size / stride), except `plain`, which may shrink it a little more.
"""

from collections.abc import Callable
from math import gcd

from graph_gen.cell_parts import Network
from strata import operations as op

_PLAIN_KERNELS: tuple[int | op.Pair, ...] = (1, 3, 5, 7, (1, 7), (1, 3))


def plain(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Convolutions in a row (VGG), some factorised into 1x7 and 7x1, some without padding."""
    kernel: int | op.Pair = net.pick(_PLAIN_KERNELS, (0.1, 0.55, 0.1, 0.05, 0.15, 0.05))
    valid = net.style.padding == "valid" and net.chance(0.4)
    if isinstance(kernel, int):
        tensor = net.conv(tensor, filters, kernel, stride, valid=valid)
        return net.conv(tensor, filters, 3) if net.chance(0.4) else tensor
    if stride > 1:
        tensor = net.conv(tensor, filters, 3, stride)
    tensor = net.conv(tensor, net.count(filters * 0.75), kernel)
    return net.conv(tensor, filters, (kernel[1], kernel[0]))


def _shortcut(net: Network, tensor: str, filters: int, stride: int) -> str:
    if stride == 1 and net.channels(tensor) == filters:
        return tensor
    if stride > 1 and net.chance(0.15):
        tensor, stride = net.pool(tensor, "average", 2, 2), 1
    return net.conv(tensor, filters, 1, stride, linear=True)


def bottleneck(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Residual bottleneck (ResNet, ResNeXt), the stride in the 1x1 (Caffe) or the 3x3."""
    inner = net.count(filters / net.pick((2, 4)))
    groups = gcd(inner, net.pick((1, 1, 1, 8, 32)))
    first, second = (stride, 1) if net.chance(0.5) else (1, stride)
    shortcut = _shortcut(net, tensor, filters, stride)
    body = net.conv(tensor, inner, 1, first)
    body = net.conv(body, inner, 3, second, groups=groups)
    body = net.conv(body, filters, 1, linear=True)
    if net.chance(net.style.squeeze):
        body = net.squeeze_excite(body)
    return net.activate(net.join(body, shortcut))


def basic(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Residual block of two 3x3 convolutions (ResNet-18)."""
    shortcut = _shortcut(net, tensor, filters, stride)
    body = net.conv(net.conv(tensor, filters, 3, stride), filters, 3, linear=True)
    return net.activate(net.join(body, shortcut))


def inverted(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Inverted residual with a linear bottleneck (MobileNetV2/V3, EfficientNet, MnasNet)."""
    if stride == 1 and net.chance(0.6):
        filters = net.channels(tensor)  # an identity skip, in chains as published networks have
    ratio = net.whole(1, 6)
    body = net.conv(tensor, net.count(net.channels(tensor) * ratio), 1) if ratio > 1 else tensor
    kernel = net.pick((3, 5, 7), (0.6, 0.35, 0.05))
    if stride == 2 and min(net.size(body)) > kernel and net.chance(0.3):
        # as Keras does: explicit padding on two sides, then no padding
        side = kernel // 2
        height, width = net.size(body)
        before = (0, 0, side - (height % 2 == 0), side - (width % 2 == 0))
        body = net.add(op.Pad(before, (0, 0, side, side)), body)
        body = net.depthwise(body, kernel, stride, valid=True)
    else:
        body = net.depthwise(body, kernel, stride)
    if net.chance(net.style.squeeze):
        body = net.squeeze_excite(body)
    body = net.conv(body, filters, 1, linear=True)
    same = stride == 1 and net.channels(tensor) == filters
    return net.join(body, tensor) if same else body


def separable(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Depthwise and 1x1 convolutions (MobileNetV1); with a shortcut as in Xception."""
    body = net.depthwise(tensor, net.pick((3, 3, 5)), stride, linear=net.chance(0.3))
    body = net.conv(body, filters, 1)
    if net.chance(0.3):
        return net.join(body, _shortcut(net, tensor, filters, stride))
    return body


def _pool_branch(net: Network, tensor: str, filters: int, stride: int) -> str:
    pooled = net.pool(tensor, net.pick(("average", "max")), 3, stride)
    return pooled if stride > 1 else net.conv(pooled, filters, 1)


def _branch(net: Network, tensor: str, filters: int, stride: int) -> str:
    reduced = net.conv(tensor, net.count(filters * net.pick((0.5, 0.75))), 1)
    match net.pick(("three", "five", "double", "factorised"), (0.4, 0.15, 0.25, 0.2)):
        case "three":
            return net.conv(reduced, filters, 3, stride)
        case "five":
            return net.conv(reduced, filters, 5, stride)
        case "double":
            return net.conv(net.conv(reduced, filters, 3), filters, 3, stride)
        case _:
            long = net.pick((3, 7))
            wide = net.conv(net.conv(reduced, filters, (1, long)), filters, (long, 1))
            return wide if stride == 1 else net.conv(wide, filters, 3, stride)


def inception(net: Network, tensor: str, filters: int, stride: int) -> str:
    """2 to 4 branches joined over channels, mostly one with a pooling (Inception)."""
    share = net.count(filters / 3)
    branches = [_pool_branch(net, tensor, share, stride)] if net.chance(0.8) else []
    if stride == 1:
        branches.append(net.conv(tensor, share, 1))
    while len(branches) < 2 or (len(branches) < 4 and net.chance(0.5)):
        branches.append(_branch(net, tensor, share, stride))
    return net.add(op.Concat(), *branches)


def _before(net: Network, tensor: str, filters: int, kernel: int) -> str:
    """Batch normalisation (mostly) and activation in front of a bare convolution."""
    return net.builder.convolution(_activated(net, tensor), filters, kernel, bias=False)


def _activated(net: Network, tensor: str) -> str:
    """An activation that no convolution stands before; its batch norm is often folded away."""
    if net.chance(0.6):
        tensor = net.add(op.BatchNormalization(), tensor)
    return net.activate(tensor)


def dense_block(net: Network, tensor: str, filters: int, stride: int) -> str:
    """2 to 4 layers that each read all before them (DenseNet), then a transition."""
    growth = net.count(max(filters / 6, 8))
    for _ in range(net.whole(2, 4)):
        grown = _before(net, tensor, growth * 4, 1) if net.chance(0.7) else tensor
        tensor = net.add(op.Concat(), tensor, _before(net, grown, growth, 3))
    if stride == 1:
        return tensor
    return net.pool(_before(net, tensor, filters, 1), "average", 2, 2)


def pre_activation(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Residual block with normalisation before its convolutions (ResNetV2)."""
    shortcut = _shortcut(net, tensor, filters, stride)
    body = net.conv(_activated(net, tensor), net.count(filters / 2), 3, stride)
    return net.join(net.conv(body, filters, 3, linear=True), shortcut)


def cell(net: Network, tensor: str, filters: int, stride: int) -> str:
    """A small random graph of convolutions and poolings joined by additions (NASBench-like)."""
    if stride > 1:
        tensor = net.pool(tensor, "max", 2, 2)
    inner = net.count(filters / 2)
    vertices = [net.conv(tensor, inner, 1)]
    for _ in range(net.whole(2, 4)):
        source = net.pick(vertices)
        others = [vertex for vertex in vertices if vertex != source]
        while others and net.chance(0.5):  # NASBench sums up whatever enters a vertex
            other = net.pick(others)
            others.remove(other)
            source = net.join(source, other)
        match net.pick(("conv3", "conv1", "separable", "pool"), (0.35, 0.2, 0.15, 0.3)):
            case "conv3":
                vertices.append(net.conv(source, inner, 3))
            case "conv1":
                vertices.append(net.conv(source, inner, 1))
            case "separable":  # activation first, as in NASNet and Xception
                spread = net.depthwise(net.activate(source), net.pick((3, 5, 7)), linear=True)
                vertices.append(net.conv(spread, inner, 1, linear=True))
            case _:
                vertices.append(net.pool(source, "max", 3, 1))
    joined = net.add(op.Concat(), *vertices[-net.whole(2, len(vertices)) :])
    return (
        net.join(joined, net.conv(tensor, net.channels(joined), 1)) if net.chance(0.4) else joined
    )


def grouped(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Grouped convolutions with or without a channel shuffle (AlexNet, ShuffleNet)."""
    groups = net.pick((2, 4, 8))
    inner = max(filters // groups, 1) * groups
    tensor = net.conv(tensor, inner, 1)
    if net.chance(0.5):
        _, _, height, width = net.builder.shape(tensor)
        split = net.add(op.Reshape((1, groups, inner // groups, height, width)), tensor)
        swapped = net.add(op.Transpose((0, 2, 1, 3, 4)), split)
        tensor = net.add(op.Reshape((1, inner, height, width)), swapped)
    return net.conv(tensor, inner, net.pick((3, 3, 5)), stride, groups=groups)


def dilated(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Dilated convolutions in a row, or side by side (DeepLab)."""
    if stride > 1:
        tensor = net.conv(tensor, filters, 3, stride)
    rates = [net.pick((2, 3, 4, 6)) for _ in range(net.whole(1, 3))]
    if net.chance(0.5):
        for rate in rates:
            tensor = net.conv(tensor, filters, 3, dilation=rate)
        return tensor
    share = net.count(filters / 3)
    branches = [net.conv(tensor, share, 3, dilation=rate) for rate in rates]
    return net.conv(net.add(op.Concat(), net.conv(tensor, share, 1), *branches), filters, 1)


def split(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Some channels pass by, mostly half (ShuffleNetV2, cross-stage partial networks)."""
    half = net.count(filters / 2)
    cut = half if net.chance(0.5) else net.whole(1, 2 * half - 1)
    tensor = net.conv(tensor, 2 * half, 3 if stride > 1 else 1, stride)
    height, width = net.size(tensor)
    parts = ((0, cut), (cut, 2 * half))
    bounds = [((0, start, 0, 0), (1, stop, height, width)) for start, stop in parts]
    kept, body = (net.add(op.Slice(*bound, (1, 1, 1, 1)), tensor) for bound in bounds)
    body = net.conv(net.conv(body, half, 1), half, 3)
    return net.add(op.Concat(), kept, body)


def fire(net: Network, tensor: str, filters: int, stride: int) -> str:
    """A narrow 1x1, then 1x1 and 3x3 side by side (SqueezeNet)."""
    squeezed = net.conv(tensor, net.count(filters / 8), 1)
    half = net.count(filters / 2)
    both = [net.conv(squeezed, half, 1, stride), net.conv(squeezed, half, 3, stride)]
    return net.add(op.Concat(), *both)


def attention(net: Network, tensor: str, filters: int, stride: int) -> str:
    """Self-attention over positions (non-local block); a bottleneck where there are too many."""
    if stride > 1 or net.size(tensor)[0] * net.size(tensor)[1] > 400:
        return bottleneck(net, tensor, filters, stride)
    inner = net.count(filters / 4)
    height, width = net.size(tensor)
    flat = (1, inner, height * width)
    query, key, value = (
        net.add(op.Reshape(flat), net.builder.convolution(tensor, inner, 1)) for _ in range(3)
    )
    weights = net.add(op.Softmax(), net.add(op.MatMul(transpose_a=True), query, key))
    mixed = net.add(op.MatMul(transpose_b=True), value, weights)
    mixed = net.add(op.Reshape((1, inner, height, width)), mixed)
    return net.join(net.conv(mixed, net.channels(tensor), 1, linear=True), tensor)


Block = Callable[[Network, str, int, int], str]
BLOCK_SHARES: dict[Block, float] = {
    plain: 0.16,
    bottleneck: 0.14,
    basic: 0.06,
    inverted: 0.18,
    separable: 0.07,
    inception: 0.12,
    dense_block: 0.07,
    pre_activation: 0.04,
    cell: 0.06,
    grouped: 0.03,
    dilated: 0.02,
    split: 0.02,
    fire: 0.02,
    attention: 0.01,
}
