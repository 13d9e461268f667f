"""What joins what: float operators folded as TensorFlow's optimisers and its converter fold them.

Constants beside a convolution, transposed convolution or dense layer become part of its weights and
bias, relu and relu6 part of the operator before them, a padding that equals SAME part of its
reader. Views and transposes move behind activations and meet. Where an operator would go, nothing
else may read what lies between, unless a reader can do without it alone.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hardware_modules.tflite_nodes import SIXTH, THREE, Node
from strata.builder import same_padding

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED"})
_SCALED_BEFORE = _WEIGHTED - {"TRANSPOSE_CONV"}
_FUSE_RELU = _WEIGHTED | {"MAX_POOL_2D", "AVERAGE_POOL_2D", "ADD", "SUB", "MUL"}
_BINARY = frozenset({"ADD", "SUB", "MUL", "MAXIMUM", "MINIMUM"})
_POINTWISE = frozenset({"RELU", "RELU6", "LOGISTIC", "TANH"})
_VIEWS = frozenset({"RESHAPE", "TRANSPOSE"})


class _Nodes:
    """Operators in order of execution, and the network's outputs."""

    def __init__(self, nodes: Sequence[Node], outputs: Sequence[Node]) -> None:
        self.nodes, self.outputs = list(nodes), list(outputs)
        self.drop_unread()

    def uses(self) -> Counter[Node]:
        """How often each output is read; leaving the network counts."""
        counts = Counter(each for node in self.nodes for each in node.inputs)
        counts.update(self.outputs)
        return counts

    def replace(self, old: Node, new: Node) -> None:
        """Every reader of `old`, but not `new` itself, reads `new`."""
        for node in self.nodes:
            if node is not new and old in node.inputs:
                node.inputs = tuple(new if each is old else each for each in node.inputs)
        self.outputs = [new if each is old else each for each in self.outputs]

    def drop_unread(self) -> None:
        wanted = set(self.outputs)
        for node in reversed(self.nodes):
            if node in wanted:
                wanted.update(node.inputs)
        self.nodes = [node for node in self.nodes if node in wanted or node.code == "INPUT"]


def _take(node: Node, other: Node) -> None:
    """`node` executes what `other` did too, and ends with it."""
    node.name = other.name
    node.layers += [name for name in other.layers if name not in node.layers]


def _order(node: Node) -> list[int]:
    return [int(axis) for axis in node.indices[0]]


def _absorb_padding(node: Node) -> None:
    """A pad before a convolution without padding that is what SAME would add."""
    pad = node.inputs[0]
    if pad.code != "PAD" or node.options["Padding"] != "VALID" or node.weights is None:
        return
    o, source = node.options, pad.inputs[0]
    kernel = (node.weights.shape[1], node.weights.shape[2])
    strides = (o["StrideH"], o["StrideW"])
    dilation = (o["DilationHFactor"], o["DilationWFactor"])
    sides = same_padding((source.shape[1], source.shape[2]), kernel, strides, dilation)
    if pad.indices[0].tolist() == [[0, 0], [sides[0], sides[2]], [sides[1], sides[3]], [0, 0]]:
        node.inputs = (source,)
        node.options = o | {"Padding": "SAME"}
        node.layers = [*pad.layers, *node.layers]


def _without_reshape(node: Node, place: int) -> None:
    """Read what a reshape reads, where the operator cannot tell the difference."""
    view = node.inputs[place]
    if view.code != "RESHAPE":
        return
    source = view.inputs[0]
    if node.code == "FULLY_CONNECTED":
        same = len(view.shape) == 2 and source.shape[-1] == view.shape[-1]
    else:
        others = [each.shape for each in node.inputs if each is not view]
        added = (1,) * (len(view.shape) - len(source.shape))
        same = view.shape == (*added, *source.shape) and node.shape in others
    if same:
        node.inputs = (*node.inputs[:place], source, *node.inputs[place + 1 :])
        node.layers = [*view.layers, *node.layers]


def _absorb(net: _Nodes) -> None:
    for node in net.nodes:
        if node.code in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            _absorb_padding(node)
        if node.code == "FULLY_CONNECTED":
            _without_reshape(node, 0)
        if node.code in _BINARY and len(node.inputs) == 2:
            _without_reshape(node, 0)
            _without_reshape(node, 1)
    net.drop_unread()


def _applies(node: Node, code: str, number: np.ndarray) -> bool:
    """Whether an operator adds, or multiplies by, just this number."""
    return node.code == code and node.constant is not None and bool(np.all(node.constant == number))


def _is_hard_sigmoid(node: Node, source: Node) -> bool:
    """Whether an operator ends a hard_sigmoid of `source`."""
    if not _applies(node, "MUL", SIXTH) or node.inputs[0].code != "RELU6":
        return False
    shifted = node.inputs[0].inputs[0]
    return _applies(shifted, "ADD", THREE) and shifted.inputs == (source,)


def _find_hard_swish(net: _Nodes) -> None:
    """A tensor times its own hard_sigmoid is one operator, whoever else reads the latter."""
    uses = net.uses()
    for node in net.nodes:
        if node.code != "MUL" or len(node.inputs) != 2:
            continue
        for gate, source in (node.inputs, node.inputs[::-1]):
            if _is_hard_sigmoid(gate, source):
                node.code, node.inputs = "HARD_SWISH", (source,)
                if uses[gate] == 1:
                    node.layers = [*(n for n in gate.layers if n not in node.layers), *node.layers]
    net.drop_unread()


def _keep_axes(node: Node, source: Node, uses: Counter[Node]) -> bool:
    """A reduction whose axes a reshape puts back keeps them itself."""
    if source.code not in ("MEAN", "REDUCE_MAX") or source.options["KeepDims"]:
        return False
    if uses[source] > 1 or node.shape != (source.shape[0], 1, 1, source.shape[-1]):
        return False
    source.options = {"KeepDims": True}
    source.shape = node.shape
    source.layers += node.layers
    return True


def _simplify_view(net: _Nodes, node: Node, uses: Counter[Node]) -> bool:
    """Two views become one, a transpose that only moves axes of one element a reshape."""
    source = node.inputs[0]
    if node.code == "TRANSPOSE":
        order = [axis for axis in _order(node) if source.shape[axis] > 1]
        if order == sorted(order):
            node.code, node.indices = "RESHAPE", (np.array(node.shape, np.int32),)
            return True
    if source.code == node.code:
        if node.code == "TRANSPOSE":
            before = _order(source)
            node.indices = (np.array([before[axis] for axis in _order(node)], np.int32),)
        node.inputs = source.inputs
        if uses[source] == 1:
            node.layers = [*source.layers, *node.layers]
        return True
    if node.code == "RESHAPE" and _keep_axes(node, source, uses):
        net.replace(node, source)
        net.nodes.remove(node)
        return True
    if node.shape == source.shape and (
        node.code == "RESHAPE" or _order(node) == sorted(_order(node))
    ):
        net.replace(node, source)
        net.nodes.remove(node)
        source.layers += node.layers
        return True
    return False


def _swap(net: _Nodes, node: Node, view: Node) -> None:
    """Run a pointwise operator before the view (or transpose) that it reads."""
    source = view.inputs[0]
    net.replace(node, view)
    node.inputs, node.shape = (source,), source.shape
    view.inputs = (node,)
    net.nodes.remove(view)
    net.nodes.insert(net.nodes.index(node) + 1, view)


def _move_view(net: _Nodes, node: Node, uses: Counter[Node]) -> bool:
    """Views move behind what they do not matter to."""
    views = [each for each in node.inputs if each.code in _VIEWS and uses[each] == 1]
    if len(views) != len(node.inputs) or not views:
        return False
    view = views[0]
    if node.code in _POINTWISE:
        _swap(net, node, view)
        return True
    if node.constant is not None and node.constant.ndim == 0 and node.code in _BINARY:
        _swap(net, node, view)
        return True
    if node.code not in _BINARY or view.code != "TRANSPOSE":
        return False
    order = _order(view)
    if node.constant is not None and node.constant.ndim == len(order):
        node.constant = np.transpose(node.constant, np.argsort(order))
        _swap(net, node, view)
        return True
    if len(views) == 2 and views[1].code == "TRANSPOSE" and _order(views[1]) == order:
        if views[0].shape != views[1].shape:
            return False
        sources = (views[0].inputs[0], views[1].inputs[0])
        _swap(net, node, view)
        node.inputs = sources
        net.nodes.remove(views[1])
        return True
    return False


def _move_views(net: _Nodes) -> None:
    changed = True
    while changed:
        uses = net.uses()
        changed = any(
            (node.code in _VIEWS and _simplify_view(net, node, uses)) or _move_view(net, node, uses)
            for node in list(net.nodes)
            if node.inputs
        )
        net.drop_unread()


def _per_filter(constant: np.ndarray, node: Node) -> bool:
    """Whether a constant has one value per filter, or one for all."""
    return constant.size == 1 or constant.size == constant.shape[-1] == node.shape[-1]


def _scale(node: Node, factor: np.ndarray) -> None:
    """Multiply what a weighted operator gives, per filter or as a whole."""
    assert node.weights is not None
    around = [1] * node.weights.ndim
    around[node.channel_axis] = -1
    node.weights = node.weights * factor.reshape(around)
    if node.bias is not None:
        node.bias = node.bias * factor


def _fold_constant(node: Node, source: Node) -> bool:
    """The constant that a node applies becomes part of the weighted operator before it."""
    if node.code not in ("MUL", "ADD", "SUB") or node.constant is None:
        return False
    if source.relu != "NONE":
        return False
    if node.code == source.code == "ADD" and source.constant is not None:
        source.constant = source.constant + node.constant
        return True
    if source.code not in _WEIGHTED:
        return False
    if not _per_filter(node.constant, source):
        return False
    if source.code == "FULLY_CONNECTED" and node.code == "SUB":
        return False
    values = node.constant.ravel()
    if node.code == "MUL":
        _scale(source, values)
        return True
    base = np.zeros(source.shape[-1], np.float32) if source.bias is None else source.bias
    source.bias = base + values if node.code == "ADD" else base - values
    return True


def _take_from_input(node: Node, source: Node, alone: bool) -> bool:
    """A constant applied to the whole input becomes part of the weights that multiply it.

    A dense layer takes those of a batch normalisation, and one number for all; a convolution one
    factor for all, and only if nothing else reads the product.
    """
    constant, weights = source.constant, node.weights
    if source.code not in ("MUL", "ADD", "SUB") or source.relu != "NONE":
        return False
    if constant is None or weights is None:
        return False
    values = constant.ravel()
    if node.code == "FULLY_CONNECTED" and (constant.ndim == 1 or constant.size == 1):
        if source.code == "MUL":
            node.weights = weights * values
        else:
            moved = (weights * values).sum(axis=1)
            base = np.float32(0) if node.bias is None else node.bias
            node.bias = base + moved if source.code == "ADD" else base - moved
    elif node.code in _SCALED_BEFORE and source.code == "MUL" and constant.size == 1 and alone:
        node.weights = weights * values
    else:
        return False
    node.inputs = source.inputs
    node.layers = [*(n for n in source.layers if n not in node.layers), *node.layers]
    return True


def _fuse_relu(node: Node, source: Node) -> bool:
    if node.code not in ("RELU", "RELU6") or source.code not in _FUSE_RELU:
        return False
    if source.relu != "NONE" or (source.code == "TRANSPOSE_CONV" and source.bias is None):
        return False
    source.relu = node.code
    return True


def _fold(net: _Nodes) -> None:
    """One walk: each operator joins the one before it, or takes in a number that scales it."""
    uses = net.uses()
    now: dict[Node, Node] = {}
    kept: list[Node] = []
    for node in net.nodes:
        node.inputs = tuple(now.get(each, each) for each in node.inputs)
        source = node.inputs[0] if node.inputs else node
        if uses[source] == 1 and (_fold_constant(node, source) or _fuse_relu(node, source)):
            _take(source, node)
            uses[source], now[node] = uses[node], source
            continue
        while _take_from_input(node, source, uses[source] == 1):
            uses[source] -= 1
            uses[node.inputs[0]] += 1
            source = node.inputs[0]
        kept.append(node)
    net.nodes, net.outputs = kept, [now.get(each, each) for each in net.outputs]
    net.drop_unread()


def folded(nodes: Sequence[Node], outputs: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """Operators that remain, in order of execution, and those that give the outputs.

    The nodes given are changed.
    """
    net = _Nodes(nodes, outputs)
    _absorb(net)
    _move_views(net)
    _absorb(net)
    _find_hard_swish(net)
    _fold(net)
    return net.nodes, net.outputs
