"""The NCS2's compiler as a process: graphs come in over a pipe, the compiler's own plans go out.

Runs under Python 3.9 in an environment of its own (docs/ncs2.md), so it imports nothing of this
package and uses no newer syntax. Requests and answers are one JSON object per line; any request
may be answered with {"refused": "<reason>"}. Its one argument is a folder for dumps:

    {"graph": <graph_json.graph_to_dict>, "passes": false, "options": {"<plugin's key>": "NO"}}
        {"plan": "<dump>", "passes": {"<pass>": "<dump>"}}
    {"devices": true}                    {"devices": ["<stick>"]}
    {"graph": <as above>, "load": true}  {"plan": "<dump>"}, and the stick holds the network
    {"run": <times>}                     {"runs": [{"latency_s": ..., "layers": [<counter>]}]}
"""

import json
import os
import queue
import shutil
import sys
import tempfile
import threading
from math import prod
from zlib import crc32

import ngraph as ng
import ngraph.opset7 as ops
import numpy as np
from ngraph.impl import Shape, Type
from ngraph.impl.op import Constant
from ngraph.utils.node_factory import NodeFactory
from openvino.inference_engine import IECore, IENetwork

_BLOCK = 1 << 20
_NO_STICK = "no available devices"
# Looking for sticks on this bus finds none: those at USB ports stay closed to mere compiling.
_NO_USB = {"MYRIAD_PROTOCOL": "MYRIAD_PCIE"}
_PART = "//"
_CONFIG = {
    "VPU_MYRIAD_PLATFORM": "VPU_MYRIAD_2480",
    "LOG_LEVEL": "LOG_NONE",
}
_random_block = np.random.default_rng(20_260_101).uniform(-1.0, 1.0, _BLOCK).astype(np.float32)


def _random(shape, name, scale=1.0, shift=0.0):
    """Constants of the shape: their values decide nothing but must not be all equal.

    Written into the constant's own memory: the constructor would take a list, one number at a
    time, and large layers would take seconds.
    """
    count = prod(shape)
    start = crc32(name.encode()) % _BLOCK
    block = np.concatenate((_random_block[start:], _random_block[:start]))[:count]
    block = (block * np.float32(scale) + np.float32(shift)).astype(np.float16).view(np.uint16)
    constant = Constant(Type.f16, Shape(list(shape)), [0.0])
    flat = np.array(constant, copy=False).reshape(-1)
    for first in range(0, count, _BLOCK):
        flat[first : first + _BLOCK] = block[: count - first]
    return constant


def _half(values):
    return ops.constant(np.asarray(values, dtype=np.float16))


def _integers(values):
    return ops.constant(np.asarray(tuple(values), dtype=np.int64))


def _with_bias(layer, output, shape):
    if not layer["parameters"].get("bias", True):
        return output
    output.set_friendly_name(layer["name"] + _PART + "weights")
    return ops.add(output, _random(shape, layer["name"] + "/bias", 0.1))


def _convolution(layer, shapes, source):
    p = layer["parameters"]
    groups, filters, channels = p["groups"], p["filters"], shapes[0][1]
    top, left, bottom, right = p["padding"]
    window = [p["stride"], [top, left], [bottom, right], p["dilation"]]
    fan_in = channels // groups * prod(p["kernel"])
    scale = (6.0 / fan_in) ** 0.5
    if groups == 1:
        weights = _random([filters, channels, *p["kernel"]], layer["name"], scale)
        output = ops.convolution(source, weights, *window)
    else:
        shape = [groups, filters // groups, channels // groups, *p["kernel"]]
        output = ops.group_convolution(source, _random(shape, layer["name"], scale), *window)
    return _with_bias(layer, output, [1, filters, 1, 1])


def _transposed(layer, shapes, source):
    p = layer["parameters"]
    groups, filters, channels = p["groups"], p["filters"], shapes[0][1]
    top, left, bottom, right = p["padding"]
    options = {
        "pads_begin": [top, left],
        "pads_end": [bottom, right],
        "dilations": p["dilation"],
        "output_padding": p["output_padding"],
    }
    scale = (6.0 / max(channels // groups * prod(p["kernel"]), 1)) ** 0.5
    if groups == 1:
        weights = _random([channels, filters, *p["kernel"]], layer["name"], scale)
        output = ops.convolution_backprop_data(source, weights, p["stride"], None, **options)
    else:
        shape = [groups, channels // groups, filters // groups, *p["kernel"]]
        weights = _random(shape, layer["name"], scale)
        output = ops.group_convolution_backprop_data(source, weights, p["stride"], None, **options)
    return _with_bias(layer, output, [1, filters, 1, 1])


def _dense(layer, shapes, source):
    units, features = layer["parameters"]["units"], shapes[0][-1]
    weights = _random([units, features], layer["name"], (6.0 / features) ** 0.5)
    output = ops.matmul(source, weights, False, True)
    return _with_bias(layer, output, [1] * (len(shapes[0]) - 1) + [units])


def _pooling(layer, shapes, source):
    p = layer["parameters"]
    top, left, bottom, right = p["padding"]
    before, after = [top, left], [bottom, right]
    if p["kind"] == "max":
        return ops.max_pool(source, p["stride"], before, after, p["kernel"])
    return ops.avg_pool(source, p["stride"], before, after, p["kernel"], not p["count_padding"])


def _global_pooling(layer, shapes, source):
    p = layer["parameters"]
    reduce = ops.reduce_max if p["kind"] == "max" else ops.reduce_mean
    return reduce(source, _integers((2, 3)), p["keep_dimensions"])


def _elementwise(layer, shapes, *sources):
    p = layer["parameters"]
    if p["constant_shape"] is not None:
        sources = (*sources, _random(p["constant_shape"], layer["name"], 0.25, 1.0))
    return getattr(ops, p["kind"])(*sources)


def _activation(layer, shapes, source):
    kind = layer["parameters"]["kind"]
    special = {
        "relu6": lambda: ops.clamp(source, 0.0, 6.0),
        "leaky_relu": lambda: ops.prelu(source, _half([0.1])),
        "hard_sigmoid": lambda: ops.hsigmoid(source),
        "hard_swish": lambda: ops.hswish(source),
        "gelu": lambda: ops.gelu(source, "erf"),
        "elu": lambda: ops.elu(source, 1.0),
        "swish": lambda: ops.swish(source, _half(1.0)),
    }
    return special[kind]() if kind in special else getattr(ops, kind)(source)


def _normalisation(layer, shapes, source):
    channels, name = [shapes[0][1]], layer["name"]
    scale, variance = (_random(channels, name + part, 0.1, 1.0) for part in ("/g", "/v"))
    shift, mean = (_random(channels, name + part, 0.1) for part in ("/b", "/m"))
    return ops.batch_norm_inference(source, scale, shift, mean, variance, 1e-3)


def _resize(layer, shapes, source):
    p = layer["parameters"]
    attributes = {
        "mode": {"nearest": "nearest", "linear": "linear_onnx", "cubic": "cubic"}[p["kind"]],
        "shape_calculation_mode": "sizes",
        "coordinate_transformation_mode": "half_pixel",
        "nearest_mode": "round_prefer_floor",
        "antialias": False,
        "pads_begin": [],
        "pads_end": [],
        "cube_coeff": -0.75,
    }
    scales = np.asarray(p["size"]) / np.asarray(shapes[0][2:])
    scales = ops.constant(scales.astype(np.float32))
    sources = [source, _integers(p["size"]), scales, _integers((2, 3))]
    return NodeFactory("opset4").create("Interpolate", sources, attributes)


def _pad(layer, shapes, source):
    p = layer["parameters"]
    zero = ops.constant(np.float16(0))
    return ops.pad(source, _integers(p["before"]), _integers(p["after"]), "constant", zero)


def _reshape(layer, shapes, source):
    return ops.reshape(source, _integers(layer["output_shape"]), False)


def _slice(layer, shapes, source):
    p = layer["parameters"]
    keep = [0] * len(p["start"])
    bounds = (_integers(p[key]) for key in ("start", "stop", "step"))
    return ops.strided_slice(source, *bounds, keep, keep)


def _lstm(layer, shapes, source):
    p = layer["parameters"]
    (batch, steps, features), hidden, directions = shapes[0], p["hidden_size"], p["directions"]
    state = _half(np.zeros((batch, directions, hidden)))
    name = layer["name"]
    weights = [
        _random([directions, 4 * hidden, size], name + part, (1 / size) ** 0.5)
        for part, size in (("/w", features), ("/r", hidden))
    ]
    bias = _random([directions, 4 * hidden], name + "/bias", 0.1)
    direction = "bidirectional" if directions == 2 else "forward"
    lengths = ops.constant(np.full(batch, steps, dtype=np.int64))
    sequence = ops.lstm_sequence(source, state, state, lengths, *weights, bias, hidden, direction)
    sequence.set_friendly_name(name + _PART + "sequence")
    output = sequence.output(0 if p["return_sequence"] else 1)
    if p["return_sequence"]:
        output = ops.transpose(output, _integers((0, 2, 1, 3)))
    return ops.reshape(output, _integers(layer["output_shape"]), False)


_BUILDERS: dict = {
    "Input": lambda layer, _: ops.parameter(list(layer["output_shape"]), np.float16),
    "Convolution": _convolution,
    "TransposedConvolution": _transposed,
    "Dense": _dense,
    "MatMul": lambda layer, _, a, b: ops.matmul(
        a, b, layer["parameters"]["transpose_a"], layer["parameters"]["transpose_b"]
    ),
    "Pooling": _pooling,
    "GlobalPooling": _global_pooling,
    "Elementwise": _elementwise,
    "Concat": lambda layer, _, *sources: ops.concat(list(sources), layer["parameters"]["axis"]),
    "Activation": _activation,
    "BatchNormalization": _normalisation,
    "Softmax": lambda layer, shapes, source: ops.softmax(
        source, layer["parameters"]["axis"] % len(shapes[0])
    ),
    "Resize": _resize,
    "Pad": _pad,
    "Reshape": _reshape,
    "Flatten": _reshape,
    "Transpose": lambda layer, _, source: ops.transpose(
        source, _integers(layer["parameters"]["permutation"])
    ),
    "Slice": _slice,
    "Lstm": _lstm,
}


def build(graph):
    """The graph as the old inference engine's network, FP16."""
    outputs: dict = {}
    shapes: dict = {}
    for layer in graph["layers"]:
        sources = [outputs[name] for name in layer["inputs"]]
        input_shapes = [shapes[name] for name in layer["inputs"]]
        built = _BUILDERS[layer["operation"]](layer, input_shapes, *sources)
        node = built if hasattr(built, "set_friendly_name") else built.get_node()
        node.set_friendly_name(layer["name"])
        outputs[layer["name"]], shapes[layer["name"]] = built, layer["output_shape"]
    results = [ops.result(outputs[name]) for name in graph["outputs"]]
    inputs = [outputs[each["name"]] for each in graph["layers"] if each["operation"] == "Input"]
    function = ng.impl.Function(results, inputs, graph["name"])
    return IENetwork(ng.impl.Function.to_capsule(function))


def _words(error):
    return " ".join(str(error).split()) or f"{type(error).__name__} without a message"


def _text(path):
    with open(path, encoding="utf-8", errors="replace") as dump:
        return dump.read()


class Compiler:
    """The plugin, and the network that a stick holds. Dumps pass through the folder."""

    def __init__(self, folder):
        self.core = IECore()
        self.folder = folder
        # a request lives in its network's memory and does not keep it alive
        self.network = self.request = None

    def version(self):
        """The build, as the plugin tells it."""
        return self.core.get_versions("MYRIAD")["MYRIAD"].build_number

    def devices(self):
        """Names of the sticks that are connected."""
        return list(self.core.get_metric("MYRIAD", "AVAILABLE_DEVICES"))

    def compile(self, graph, passes=False, load=False, options=()):
        """What the compiler dumped of one graph; with `load`, a stick must take it too.

        `options` are of the plugin, beside ours.
        """
        folder = tempfile.mkdtemp(dir=self.folder)
        self.request = self.network = None
        path = os.path.join(folder, "graph.dot")
        config = {
            **_CONFIG,
            **({} if load else _NO_USB),
            **dict(options),
            "MYRIAD_DUMP_INTERNAL_GRAPH_FILE_NAME": path,
            "MYRIAD_DUMP_ALL_PASSES": "YES" if passes else "NO",
            "PERF_COUNT": "YES",
        }
        try:
            network = build(graph)
            try:
                loaded = self.core.load_network(network, "MYRIAD", config)
                if load:
                    self.network, self.request = loaded, loaded.requests[0]
            except RuntimeError as error:
                # without a stick this comes last, after the plan has been written
                if load or _NO_STICK not in str(error) or not os.path.exists(path):
                    return {"refused": _words(error)}
            names = sorted(set(os.listdir(folder)) - {"graph.dot"}) if passes else []
            dumps = {
                name[len("graph_") : -len(".dot")]: _text(os.path.join(folder, name))
                for name in names
            }
            return {"plan": _text(path), "passes": dumps}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run(self, times):
        """Latency and counters of each of so many inferences, one at a time."""
        if self.request is None:
            return {"refused": "no network is loaded"}
        runs = []
        for _ in range(times):
            self.request.infer()
            counters = self.request.get_perf_counts()
            layers = [
                {
                    "name": name,
                    "status": counter["status"],
                    "layer_type": counter["layer_type"],
                    "execution_type": counter["exec_type"],
                    "real_us": int(counter["real_time"]),
                    "cpu_us": int(counter["cpu_time"]),
                    "index": int(counter["execution_index"]),
                }
                for name, counter in counters.items()
            ]
            runs.append({"latency_s": self.request.latency * 1e-3, "layers": layers})
        return {"runs": runs}

    def answer(self, request):
        """The answer to one request; whatever goes wrong in Python is a refusal."""
        try:
            if "devices" in request:
                return {"devices": self.devices()}
            if "run" in request:
                return self.run(request["run"])
            passes, load = (request.get(key, False) for key in ("passes", "load"))
            return self.compile(request["graph"], passes, load, request.get("options", ()))
        except Exception as error:
            return {"refused": _words(error)}


def _listen(requests, folder):
    """Hand lines over; when the pipe closes the parent is gone, and so must this process and its
    folder be, whatever the plugin is doing."""
    for line in sys.stdin:
        requests.put(line)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main(folder):
    """Answer requests until the pipe closes. The folder is this process's own."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the plugin prints must not stand between answers
    requests: queue.Queue = queue.Queue()
    threading.Thread(target=_listen, args=(requests, folder), daemon=True).start()
    compiler = Compiler(folder)
    print(json.dumps({"ready": compiler.version()}), file=answers, flush=True)
    while True:
        answer = compiler.answer(json.loads(requests.get()))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
