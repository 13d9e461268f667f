"""What integers stand for: an int8 scale and zero point per tensor, as the converter shares them.

Ranges are estimated from each operator's kind, not measured on samples. Some operators demand equal
quantisation of what they read and give (poolings, concatenation ...). Where one tensor is read by
several of them, it takes one's and is requantised for the others: an operator of its own. The
rules are those that TensorFlow's quantiser applies.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log, prod, sqrt
from zlib import crc32

import numpy as np

from hardware_modules.tflite_nodes import Node
from strata import operations as op

SAME_SCALE = frozenset(
    {
        "AVERAGE_POOL_2D",
        "CONCATENATION",
        "MAXIMUM",
        "MAX_POOL_2D",
        "MINIMUM",
        "PAD",
        "REDUCE_MAX",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "STRIDED_SLICE",
        "TRANSPOSE",
    }
)
_SEVERAL = frozenset({"CONCATENATION", "MAXIMUM", "MINIMUM"})  # of SAME_SCALE
SAMPLES = 4
_LIMIT = 1e6
_FEW = 256  # the extremes of so few normal numbers vary; clipping is worse than a coarse grid
_AT_ONCE = 8  # filters
_SPREAD = 0.06  # ranges of two tensors are never quite equal


@dataclass(frozen=True, slots=True)
class Quantisation:
    """real = scale * (integer - zero_point), int8."""

    scale: float
    zero_point: int


FIXED = {
    "LOGISTIC": Quantisation(1 / 256, -128),
    "SOFTMAX": Quantisation(1 / 256, -128),
    "TANH": Quantisation(1 / 128, 0),
}


@dataclass(frozen=True, slots=True)
class Spread:
    """What is expected of a tensor: its extremes and its root mean square."""

    low: float
    high: float
    rms: float


def quantisation(low: float, high: float) -> Quantisation:
    """The int8 grid over a range and zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / 255 or 1.0))
    return Quantisation(scale, int(np.clip(round(-128 - low / scale), -128, 127)))


def _normal(node: Node, rms: float) -> Spread:
    """Numbers of a normal distribution: the more there are, the wider their extremes."""
    width = rms * sqrt(2 * log(max(prod(node.shape), _FEW)))
    return Spread(-width * _chance(node, "low"), width * _chance(node, "high"), rms)


def _chance(node: Node, what: str) -> float:
    """1 or a little more, as samples would have it: fixed by the names."""
    return 1 + _SPREAD * (crc32(f"{node.name}/{what}".encode()) % 1024) / 1024


def _clipped(spread: Spread, least: float, most: float, share: float) -> Spread:
    low, high = max(spread.low, least), min(max(spread.high, 0.0), most)
    return Spread(low, max(high, 1e-3), spread.rms * sqrt(share))


def _unclipped(node: Node, read: Sequence[Spread]) -> Spread:
    first = read[0]
    match node.code:
        case "CONV_2D" | "DEPTHWISE_CONV_2D" | "TRANSPOSE_CONV" | "FULLY_CONNECTED":
            return _normal(node, sqrt((first.rms * _gain(node)) ** 2 + _bias_square(node)))
        case "ADD" | "SUB":
            if node.constant is not None:
                return _moved(node, first, float(node.constant.mean()))
            return _normal(node, sqrt(first.rms**2 + read[-1].rms ** 2))
        case "MUL":
            factor = read[-1].high if node.constant is None else float(np.abs(node.constant).max())
            return Spread(first.low * factor, first.high * factor, first.rms * factor)
        case "CONCATENATION" | "MAXIMUM" | "MINIMUM":
            return Spread(
                min(each.low for each in read),
                max(each.high for each in read),
                sqrt(sum(each.rms**2 for each in read) / len(read)),
            )
        case "MEAN":
            return _mean(node, first)
        case "RELU" | "RELU6":
            return _clipped(first, 0.0, 6.0 if node.code == "RELU6" else np.inf, 0.5)
        case "LEAKY_RELU":
            return Spread(first.low * node.options["Alpha"], first.high, first.rms * 0.7)
        case "GELU" | "HARD_SWISH":  # their least values are -0.17 and -0.375
            return Spread(max(first.low, -0.4), first.high, first.rms * 0.7)
    return first


def _moved(node: Node, read: Spread, mean: float) -> Spread:
    """What a constant, 0.1 about its mean, is added to or subtracted from."""
    mean = mean if node.code == "ADD" else -mean
    around = _normal(node, sqrt(read.rms**2 + 0.1**2))
    return Spread(around.low + mean, around.high + mean, sqrt(around.rms**2 + mean**2))


def _gain(node: Node) -> float:
    """How much a weighted operator multiplies the root mean square of what it reads."""
    assert node.weights is not None
    some = node.weights.ravel()[:4096]
    products = node.weights.size / node.weights.shape[node.channel_axis]
    if node.code == "TRANSPOSE_CONV":
        products /= node.options["StrideH"] * node.options["StrideW"]
    return max(sqrt(float(np.mean(some * some)) * products), 1e-6)


def _bias_square(node: Node) -> float:
    return 0.0 if node.bias is None else float(np.mean(node.bias * node.bias))


def _mean(node: Node, read: Spread) -> Spread:
    """Of a whole map: what varies within it mostly goes, what shifts its channel stays."""
    if read.low >= 0:
        return Spread(0.0, 1.5 * read.rms * _chance(node, "mean"), read.rms)
    high = 0.6 * read.rms * _chance(node, "mean")
    return Spread(-high, high, 0.3 * read.rms)


def spreads(nodes: Sequence[Node]) -> dict[Node, Spread]:
    """An estimate for every operator's output."""
    found: dict[Node, Spread] = {}
    measured = _measured(nodes)
    for node in nodes:
        if node.code == "INPUT":
            found[node] = Spread(-1.0, 1.0, sqrt(1 / 3))  # uniform
            continue
        if fixed := FIXED.get(node.code):
            found[node] = _within(node, fixed)
            continue
        spread = _unclipped(node, [found[each] for each in node.inputs])
        if node in measured:
            spread = Spread(*measured[node], spread.rms)
        if node.relu != "NONE":
            spread = _clipped(spread, 0.0, 6.0 if node.relu == "RELU6" else np.inf, 0.5)
        found[node] = _limited(spread)
    return found


def _within(node: Node, fixed: Quantisation) -> Spread:
    """Values on a fixed grid do not reach its ends: who shares a range with them has another."""
    reached = fixed.scale / _chance(node, "fixed") / (1 + _SPREAD)
    return Spread(reached * (-128 - fixed.zero_point), reached * (127 - fixed.zero_point), 0.5)


def _limited(spread: Spread) -> Spread:
    """No product of many factors leaves what a float32 scale can hold."""
    low, high = max(spread.low, -_LIMIT), min(spread.high, _LIMIT)
    return Spread(low, high, min(spread.rms, _LIMIT))


def samples(shapes: Sequence[op.Shape], seed: int = 0) -> Iterator[list[np.ndarray]]:
    """Inputs of a network to take ranges from: float32, uniform in [-1, 1)."""
    generator = np.random.default_rng(seed)
    for _ in range(SAMPLES):
        yield [generator.uniform(-1.0, 1.0, shape).astype(np.float32) for shape in shapes]


def _largest(values: np.ndarray, weights: np.ndarray, bias: np.ndarray) -> float:
    """Largest element of values @ weights.T + bias, for values of at most 1 in magnitude.

    values: (positions, channels); weights: (filters, channels). Filters are tried in the order of
    what they could give at most, until none of the others can give more.
    """
    bounds = np.abs(weights).sum(axis=1) + bias
    order, most = np.argsort(-bounds), -np.inf
    for start in range(0, len(order), _AT_ONCE):
        block = order[start : start + _AT_ONCE]
        if bounds[block[0]] <= most:
            break
        most = max(most, float((values @ weights[block].T + bias[block]).max()))
    return most


def _pointwise_on_input(node: Node) -> bool:
    weights = node.weights
    return (
        node.code == "CONV_2D"
        and node.inputs[0].code == "INPUT"
        and weights is not None
        and weights.shape[1:] == (1, 1, node.inputs[0].shape[-1])
        and node.options["StrideH"] == node.options["StrideW"] == 1
    )


def _measured(nodes: Sequence[Node]) -> dict[Node, tuple[float, float]]:
    """Extremes on the samples of 1x1 convolutions of an input, where concatenations share one.

    The benchmark of concatenations consists of them, and whether several concatenations of one
    tensor need one grid or several depends on which operand holds the extreme.
    """
    joined = [node for node in nodes if node.code == "CONCATENATION"]
    read = Counter(each for node in joined for each in set(node.inputs))
    wanted = [node for node in nodes if node in read and _pointwise_on_input(node)]
    if all(read[node] == 1 for node in wanted):
        return {}
    found = dict.fromkeys(wanted, (0.0, 0.0))
    inputs = [node for node in nodes if node.code == "INPUT"]
    for drawn in samples([node.shape for node in inputs]):
        for node in wanted:
            values = drawn[inputs.index(node.inputs[0])].reshape(-1, node.inputs[0].shape[-1])
            assert node.weights is not None
            weights = node.weights.reshape(-1, values.shape[1])
            bias = np.zeros(len(weights), np.float32) if node.bias is None else node.bias
            low, high = found[node]
            high = max(high, _largest(values, weights, bias))
            if node.relu == "NONE":
                low = min(low, -_largest(values, -weights, -bias))
            found[node] = (low, high)
    return found


def _users(nodes: Sequence[Node]) -> dict[Node, list[Node]]:
    users: dict[Node, list[Node]] = defaultdict(list)
    for node in nodes:
        for each in node.inputs:
            users[each].append(node)
    return users


def _own(nodes: Sequence[Node]) -> set[Node]:
    """The operators whose own range decides: neither those that pass on what they read, nor what
    an operator with several inputs reads, however far above.
    """
    passed = {node for node in nodes if node.code in FIXED}
    passed |= {node for node in nodes if node.code in SAME_SCALE - _SEVERAL}
    waiting = [node for node in nodes if node not in passed]
    while waiting:
        node = waiting.pop()
        if node.code in SAME_SCALE:
            passed.update(node.inputs)
            waiting += node.inputs
    return {node for node in nodes if node not in passed}


@dataclass(slots=True)
class Quantisations:
    """Of each operator's output, and, where a reader needs another, of each (reader, place)."""

    outputs: dict[Node, Quantisation]
    requantised: dict[Node, Quantisation]  # after the output, for all its readers
    inputs: dict[tuple[Node, int], Quantisation]


def _demanded(
    node: Node, own: set[Node], found: Mapping[Node, Quantisation]
) -> Quantisation | None:
    """What an operator of equal scales takes: what is settled before what is passed on to it,
    and of either its only input's, then its output's, then its first input's.
    """
    single = len(node.inputs) == 1
    places = [*node.inputs, node] if single else [node, *node.inputs]
    settled = [each for each in places if each in own]
    known = [each for each in places if each in found]
    if single or node in own or not settled:
        chosen = settled or known
    else:
        chosen = [node] if node in found else settled
    return found[chosen[0]] if chosen else None


def quantisations(nodes: Sequence[Node], ranges: Mapping[Node, Spread]) -> Quantisations:
    """Spread every decided quantisation over the operators of equal scales, the last ones first."""
    users = _users(nodes)
    own = _own(nodes)
    found = {
        node: quantisation(ranges[node].low, ranges[node].high) for node in nodes if node in own
    }
    result = Quantisations(found, {}, {})
    waiting, done = list(nodes), set()
    while waiting:
        node = waiting.pop()
        if node in done:
            continue
        done.add(node)
        if node.code in FIXED:
            fixed = FIXED[node.code]
            if found.setdefault(node, fixed) != fixed:
                result.requantised[node], found[node] = found[node], fixed
            else:
                waiting += users[node]
        elif node.code in SAME_SCALE:
            shared = _demanded(node, own, found)
            if shared is None:
                done.discard(node)
            else:
                waiting += _share(result, node, shared, users[node])
    for node in nodes:  # what reads a tensor that got its grid from a later reader
        if node not in found:
            source = node.inputs[0]
            found[node] = result.requantised.get(source, found[source])
    return result


def _share(
    result: Quantisations, node: Node, shared: Quantisation, users: Sequence[Node]
) -> list[Node]:
    """Put a grid on both sides of an operator; whoever may now pass it on."""
    found, taken = result.outputs, []
    for place, each in enumerate(node.inputs):
        if each not in found:
            found[each] = shared
            taken.append(each)
        elif result.requantised.get(each, found[each]) != shared:
            result.inputs[node, place] = shared
    if node not in found:
        found[node] = shared
        return [*taken, *users]
    if found[node] != shared:
        result.requantised[node], found[node] = found[node], shared
    return taken
