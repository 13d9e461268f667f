"""Networks in: ONNX, TFLite, TensorFlow SavedModel, Keras, OpenVINO IR and Strata's JSON."""

import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from strata import operations as op
from strata.errors import ArtefactError, SchemaError, legal
from strata.graph import Graph, make_graph
from strata.graph_json import load_graph
from strata.openvino_import import graph_from_openvino

__all__ = ["graph_from_openvino", "load_network", "read_openvino_model"]

_FRONT_ENDS = {".onnx": "onnx", ".tflite": "tflite", ".xml": "ir"}
_KERAS = (".keras", ".h5")
_LEGAL = (*_FRONT_ENDS, *_KERAS, ".json", "a SavedModel folder")
_MESSAGE_LENGTH = 200
_TYPICAL_SIZE = 224


def load_network(path: str | Path, input_shape: Sequence[int] | None = None) -> Graph:
    """The graph of a network file, named after the file.

    `input_shape` (elements per axis, batch first) resolves dynamic axes or replaces the shape of
    the network's input. A batch axis that alone is dynamic becomes 1 unasked.

    Raises ArtefactError for a file that is missing, of an unknown kind or cannot be read, and
    SchemaError for a network that breaks a rule or whose shape must be given.
    """
    path = Path(path)
    if path.suffix.lower() != ".json":
        model = read_openvino_model(path, input_shape)
        try:
            return graph_from_openvino(model, path.stem)
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from None
        except (
            Exception
        ) as error:  # whatever a front-end's odd graph provokes: one line, no traceback
            raise _unconverted(path, error) from None
    graph = load_graph(path)
    return graph if input_shape is None else _with_input_shape(graph, tuple(input_shape), path)


def read_openvino_model(path: str | Path, input_shape: Sequence[int] | None = None) -> Any:
    """An openvino.Model of static shape from any file `load_network` reads, but for .json.

    OpenVINO's device-independent fusions have been applied, as compiling the model would do, and
    nodes they left without a name of the source's got one that is the same in every process.
    Errors as `load_network`.
    """
    path = Path(path)
    front_end = _front_end(path)
    with _silent_standard_error():
        if front_end == "keras":
            with tempfile.TemporaryDirectory() as folder:
                _export_keras(path, folder)
                model = _convert(Path(folder), "tf", path)
        else:
            model = _convert(path, front_end, path)
        if not model.outputs:
            raise ArtefactError(f"{path}: holds no network: it has no outputs")
        _make_static(model, input_shape, path)
        try:
            _normalise(model, auto_names_are_set=front_end in ("keras", "tf", "tflite"))
        except RuntimeError as error:
            raise _unconverted(path, error) from None
    return model


def _unconverted(path: Path, error: Exception) -> ArtefactError:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return ArtefactError(f"{path}: cannot be converted to a graph: {reason}")


def _front_end(path: Path) -> str:
    """Which reader a path needs; ArtefactError if it is missing, empty or of no known kind."""
    if not path.exists():
        raise ArtefactError(f"{path}: no such file or folder")
    if path.is_dir():
        if not (path / "saved_model.pb").is_file():
            raise ArtefactError(f"{path}: a folder without saved_model.pb is no SavedModel")
        return "tf"
    suffix = path.suffix.lower()
    if suffix not in _FRONT_ENDS and suffix not in _KERAS:
        raise ArtefactError(f"{path}: unknown kind of file '{suffix}'; legal: {legal(_LEGAL)}")
    if path.stat().st_size == 0:
        raise ArtefactError(f"{path}: the file is empty")
    if suffix == ".tflite" and _head(path)[4:] != b"TFL3":
        raise ArtefactError(f"{path}: cannot be read as a .tflite file: its mark TFL3 is missing")
    return _FRONT_ENDS.get(suffix, "keras")


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}") from None


def _convert(source: Path, front_end: str, shown: Path) -> Any:
    """Read with one named front-end: OpenVINO's own guess loses the reader's error message."""
    from openvino.frontend import FrontEndManager

    try:
        reader = FrontEndManager().load_by_framework(front_end)
        return reader.convert(reader.load(str(source)))
    except Exception as error:  # OpenVINO raises many types, RuntimeError among them
        raise ArtefactError(
            f"{shown}: cannot be read as {_kind(shown)}: {_essence(error)}"
        ) from None


def _kind(path: Path) -> str:
    return f"a {path.suffix.lower()} file" if path.is_file() else "a SavedModel"


def _essence(error: Exception) -> str:
    """The telling line of a message that names source lines and checks before it."""
    lines = [line.strip() for line in str(error).splitlines()]
    noise = (
        "Exception from",
        "Check '",
        "FrontEnd API failed",
        "While validating",
        "Summary:",
        "Model wasn't",
    )
    telling = [line for line in lines if line and not line.startswith(noise)]
    text = (telling or [line for line in lines if line] or [type(error).__name__])[0]
    text = re.sub(r"\s+", " ", text).removeprefix("-- ")
    return text if len(text) <= _MESSAGE_LENGTH else text[: _MESSAGE_LENGTH - 3] + "..."


def _export_keras(path: Path, folder: str) -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    try:
        import keras
    except ImportError as error:
        raise ArtefactError(f"{path}: reading Keras files needs TensorFlow: {error}") from None
    try:
        model = keras.models.load_model(path, compile=False)
        model.export(folder, verbose=False)
    except Exception as error:  # Keras raises whatever its parts raise
        raise ArtefactError(f"{path}: Keras cannot load it: {_essence(error)}") from None


@contextmanager
def _silent_standard_error() -> Iterator[None]:
    """Send what C++ libraries write to file descriptor 2 nowhere."""
    try:
        saved = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(nowhere)


def _is_open(axes: list[Any]) -> bool:
    """Whether a dynamic axis other than the batch asks for a shape."""
    return any(axis.is_dynamic for axis in axes[1:])


def _make_static(model: Any, input_shape: Sequence[int] | None, path: Path) -> None:
    """Give every input a static shape, from the file, the batch rule or the caller."""
    partial = {i: source.get_partial_shape() for i, source in enumerate(model.inputs)}
    asking = [i for i, shape in partial.items() if shape.rank.is_dynamic or _is_open(list(shape))]
    chosen: dict[int, list[int]] = {}
    for i, shape in partial.items():
        if i not in asking:
            chosen[i] = [1 if axis.is_dynamic else axis.get_length() for axis in shape]
    if input_shape is not None:
        chosen[_target(model, asking, path)] = _checked(input_shape, path)
    missing = [i for i in asking if i not in chosen]
    if missing:
        i = missing[0]
        raise SchemaError(
            f"{path}: input '{_input_name(model, i)}' has the dynamic shape {partial[i]}: "
            f"asks for --input-shape {_suggestion(partial[i])} or the like"
        )
    if all(shape.is_static and list(shape) == chosen[i] for i, shape in partial.items()):
        return
    try:
        model.reshape({model.inputs[i]: shape for i, shape in chosen.items()})
    except Exception as error:
        given = ",".join(map(str, input_shape or ()))
        raise SchemaError(
            f"{path}: does not fit --input-shape {given or 'with batch 1'}: {_essence(error)}"
        ) from None


def _input_name(model: Any, index: int) -> str:
    return str(model.inputs[index].get_node().get_friendly_name())


def _target(model: Any, asking: list[int], path: Path) -> int:
    """The one input that a given shape is for."""
    if len(asking) == 1:
        return asking[0]
    if len(model.inputs) == 1:
        return 0
    names = ", ".join(_input_name(model, i) for i in asking or range(len(model.inputs)))
    raise SchemaError(
        f"{path}: one --input-shape cannot fit its {len(model.inputs)} inputs {names}"
    )


def _checked(input_shape: Sequence[int], path: Path) -> list[int]:
    shape = list(input_shape)
    if not shape or any(not isinstance(size, int) or size < 1 for size in shape):
        given = ",".join(map(str, shape))
        raise SchemaError(f"{path}: --input-shape '{given}': every axis must be 1 or more")
    return shape


def _suggestion(shape: Any) -> str:
    if shape.rank.is_dynamic:
        return "1,3,224,224"
    axes = [
        str(_TYPICAL_SIZE if i else 1) if axis.is_dynamic else str(axis.get_length())
        for i, axis in enumerate(shape)
    ]
    return ",".join(axes)


def _normalise(model: Any, auto_names_are_set: bool) -> None:
    """Fuse what every OpenVINO device fuses first; then name the nodes this has made.

    Numbers in OpenVINO's own names count all nodes of the process, so they differ from run to
    run. The TensorFlow front-ends also write such names themselves (`auto_names_are_set`).
    """
    from openvino import _offline_transformations as transformations

    # No node may be held over the fusions: as a reader of its inputs it would prevent some.
    given = {node.get_friendly_name() for node in model.get_ordered_ops()}
    given -= {node.get_name() for node in model.get_ordered_ops()}
    kinds = {node.get_type_name() for node in model.get_ordered_ops()}
    transformations.apply_moc_transformations(model, cf=True, smart_reshape=True)
    transformations.apply_fused_names_cleanup(model)
    after = model.get_ordered_ops()
    kinds |= {node.get_type_name() for node in after}
    for node in after:
        name = node.get_friendly_name()
        # a file may say Convolution_7; but a convolution called Transpose_7 has only inherited
        # the name of a transpose that is gone
        inherited = name.rpartition("_")[0] != node.get_type_name()
        if _is_automatic(name, kinds) and (auto_names_are_set or inherited):
            given.discard(name)
    _rename(after, given)


def _is_automatic(name: str, kinds: set[str]) -> bool:
    kind, _, number = name.rpartition("_")
    return number.isdigit() and kind in kinds


def _rename(nodes: list[Any], given: set[str]) -> None:
    counts: Counter[str] = Counter()
    taken = set(given)
    for node in nodes:
        kind = node.get_type_name()
        if kind in ("Constant", "Result"):
            continue
        if node.get_friendly_name() in given:
            # OpenVINO's profiles join names by commas
            node.set_friendly_name(node.get_friendly_name().replace(",", ";"))
            continue
        reader = _sole_reader(node)
        if reader in given and f"{reader}/{kind}" not in taken:
            name = f"{reader}/{kind}"
        else:
            name = _free_name(kind, counts, taken)
        taken.add(name)
        node.set_friendly_name(name)


def _sole_reader(node: Any) -> str | None:
    """Name of the Add that gives a convolution or the like its bias, where it has one."""
    targets = [target for output in node.outputs() for target in output.get_target_inputs()]
    if len(targets) != 1 or targets[0].get_node().get_type_name() != "Add":
        return None
    return str(targets[0].get_node().get_friendly_name())


def _free_name(kind: str, counts: Counter[str], taken: set[str]) -> str:
    while True:
        counts[kind] += 1
        name = f"{kind}_{counts[kind]}"
        if name not in taken:
            return name


def _with_input_shape(graph: Graph, shape: op.Shape, path: Path) -> Graph:
    if len(graph.inputs) != 1:
        names = ", ".join(graph.inputs)
        raise SchemaError(f"{path}: one --input-shape cannot fit its inputs {names}")
    _checked(shape, path)
    layers = [
        replace(layer, parameters=op.Input(shape)) if layer.name == graph.inputs[0] else layer
        for layer in graph.layers
    ]
    try:
        return make_graph(graph.name, layers, graph.outputs)
    except SchemaError as error:
        given = ",".join(map(str, shape))
        raise SchemaError(f"{path}: does not fit --input-shape {given}: {error}") from None
