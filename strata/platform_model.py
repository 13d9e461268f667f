"""The platform model: all that estimation needs to know of a platform, in one self-describing file.

A bundle NAME.strata is a zip of `header.json` (format, versions, header, models with references to
arrays, SHA-256 of the arrays) and `arrays.npz` (numpy arrays, never pickled). Nothing in it can
run code. docs/models.md describes the format.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from strata.adjustment import Adjustment, adjustment_from_dict, adjustment_to_dict
from strata.atomic import replacing
from strata.bundle_file import (
    BROKEN,
    add_member,
    npz_bytes,
    one_line,
    open_bundle,
    read_member,
)
from strata.errors import ArtefactError, legal
from strata.forest import Forest, forest_from_arrays, forest_to_arrays
from strata.intervals import Intervals, intervals_from_dict, intervals_to_dict
from strata.layer_model_json import layer_model_from_dict, layer_model_to_dict
from strata.layer_models import LayerModel
from strata.mapping import MappingModel, mapping_from_parts, mapping_to_parts
from strata.traffic import Traffic, traffic_from_dict, traffic_to_dict
from strata.validity import Validity, check_model_key, validity_from_parts, validity_to_parts

FORMAT = "strata-platform"
SCHEMA_VERSION = 5
_HEADER, _ARRAYS = "header.json", "arrays.npz"
_LARGEST_HEADER, _LARGEST_ARRAYS = 64 * 2**20, 2**30  # bytes; a bundle is meant to stay below 30 MB


@dataclass(frozen=True, slots=True)
class NetworkOverhead:
    """What a network costs beside its layers, in seconds.

    Once, per executed layer, per byte of the network's inputs, and per byte that leaves for the
    host (`strata.link`).
    """

    per_network_s: float = 0.0
    per_layer_s: float = 0.0
    per_input_byte_s: float = 0.0
    per_output_byte_s: float = 0.0

    def time_s(self, layers: int, input_bytes: int, output_bytes: int) -> float:
        """Seconds of a network of so many executed layers, and bytes that enter and leave."""
        return (
            self.per_network_s
            + self.per_layer_s * layers
            + self.per_input_byte_s * input_bytes
            + self.per_output_byte_s * output_bytes
        )


@dataclass(frozen=True, slots=True)
class Header:
    """Where a platform model comes from and what it holds for.

    `platform` is the platform's name, `run` the configuration's, `created` ISO 8601 in UTC.
    `data_hashes` gives the SHA-256 of each table, `fit_metrics` the metrics per operation,
    `ranges` the smallest and largest value of each of OWN_FEATURES per operation, `counts` rows.
    `bits` is what the platform computes in, per activation and weight. `recalibrated` says what the
    model was moved to another set-up with, in a few words; empty for an original.
    """

    platform: str
    code_version: str
    created: str
    run: str
    seed: int
    schema_version: int = SCHEMA_VERSION
    data_hashes: dict[str, str] = field(default_factory=dict)
    fit_metrics: dict[str, Any] = field(default_factory=dict)
    host: dict[str, str] = field(default_factory=dict)
    toolchain: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    bits: int = 32
    recalibrated: str = ""

    @property
    def times(self) -> str:
        """What the times behind the models are, in a few words, where nothing was measured."""
        return self.toolchain.get("times", "")


@dataclass(frozen=True, slots=True, eq=False)
class PlatformModel:
    """Header, layer models, mapping model, overhead of a network, and its traffic if known.

    Layer models are kept by `ExecutedLayer.model_key` (operation, and placement if any) and kind.
    `validity` says where their measurements lie, `intervals` how far estimates may lie off; both
    are empty in models that do not know it. `adjustment` is there where the model was moved to
    another set-up.
    """

    header: Header
    layer_models: dict[str, dict[str, LayerModel]]
    mapping: MappingModel
    overhead: NetworkOverhead = NetworkOverhead()
    traffic: Traffic = field(default_factory=Traffic)
    validity: Validity = field(default_factory=Validity)
    intervals: Intervals = field(default_factory=Intervals)
    adjustment: Adjustment | None = None


def save_platform_model(model: PlatformModel, path: str | Path) -> None:
    """Write a bundle, whole or not at all; ArtefactError if the model would not load again."""
    header, arrays = _to_parts(model)
    payload = npz_bytes(arrays)
    header["arrays"] = {"file": _ARRAYS, "sha256": hashlib.sha256(payload).hexdigest()}
    try:
        text = json.dumps(header, allow_nan=False, indent=1)
    except (TypeError, ValueError) as error:
        raise ArtefactError(f"{path}: the header cannot be written as JSON: {error}") from None
    _from_parts(json.loads(text), arrays, str(path))
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as bundle:
        add_member(bundle, _HEADER, text.encode(), zipfile.ZIP_DEFLATED)
        add_member(bundle, _ARRAYS, payload, zipfile.ZIP_STORED)


def load_platform_model(path: str | Path) -> PlatformModel:
    """Read and verify a bundle.

    ArtefactError, one line, for a file that is missing, no bundle, truncated, altered, of another
    version, or that holds anything but what this version writes.
    """
    where = str(path)
    with open_bundle(path) as bundle:
        header = _header(bundle, where)
        payload = read_member(bundle, _ARRAYS, _LARGEST_ARRAYS, where)
    stated = _get(_get(header, "arrays", dict, where), "sha256", str, f"{where}: arrays")
    if hashlib.sha256(payload).hexdigest() != stated:
        raise ArtefactError(f"{where}: {_ARRAYS} is corrupt: its SHA-256 is not the header's")
    try:
        with np.load(io.BytesIO(payload), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except BROKEN as error:
        raise ArtefactError(f"{where}: {_ARRAYS} is corrupt: {one_line(error)}") from None
    return _from_parts(header, arrays, where)


def load_header(path: str | Path) -> Header:
    """The header of a bundle without its arrays; ArtefactError as `load_platform_model`."""
    where = str(path)
    with open_bundle(path) as bundle:
        return _parse_header(_header(bundle, where), where)


def _to_parts(model: PlatformModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    names: dict[int, str] = {}
    arrays: dict[str, np.ndarray] = {}

    def store(forest: Forest) -> str:
        # a forest that two kinds share is stored once
        if id(forest) not in names:
            names[id(forest)] = name = f"forest{len(names)}"
            arrays.update({f"{name}/{k}": v for k, v in forest_to_arrays(forest).items()})
        return names[id(forest)]

    models = {
        operation: {kind: layer_model_to_dict(each, store) for kind, each in kinds.items()}
        for operation, kinds in model.layer_models.items()
    }
    mapping, mapping_arrays = mapping_to_parts(model.mapping)
    arrays.update({f"mapping/{name}": array for name, array in mapping_arrays.items()})
    about = asdict(model.header)
    data = {"format": FORMAT, "schema_version": about.pop("schema_version"), "header": about}
    rest = {"layer_models": models, "mapping": mapping, "overhead": asdict(model.overhead)}
    if model.traffic.memories:
        rest["traffic"] = traffic_to_dict(model.traffic, store)
    if model.validity.regions:
        rest["validity"], points = validity_to_parts(model.validity)
        arrays.update({f"validity/{key}": array for key, array in points.items()})
    if model.intervals.network or model.intervals.layers:
        rest["intervals"] = intervals_to_dict(model.intervals, store)
    if model.adjustment is not None:
        rest["adjustment"] = adjustment_to_dict(model.adjustment)
    return data | rest, arrays


def _from_parts(
    data: Mapping[str, Any], arrays: Mapping[str, np.ndarray], where: str
) -> PlatformModel:
    header = _parse_header(data, where)
    forests = _forests(arrays, where)
    models: dict[str, dict[str, LayerModel]] = {}
    for operation, kinds in _get(data, "layer_models", dict, where).items():
        try:
            check_model_key(operation)
        except ArtefactError as error:
            raise ArtefactError(f"{where}: layer_models: {error}") from None
        place = f"{where}: layer_models: {operation}"
        models[operation] = {}
        for kind, each in _typed(kinds, dict, place).items():
            found = layer_model_from_dict(each, forests, f"{place}: {kind}")
            if found.kind != kind:
                raise ArtefactError(f"{place}: {kind} holds a model of kind {found.kind}")
            models[operation][kind] = found
    mapping = _mapping(_get(data, "mapping", dict, where), arrays, where)
    traffic = Traffic()
    if "traffic" in data:  # most platforms' toolchains say nothing of it
        traffic = traffic_from_dict(data["traffic"], forests, f"{where}: traffic")
    return PlatformModel(
        header,
        models,
        mapping,
        _overhead(data, where),
        traffic,
        _validity(data, arrays, where),
        _intervals(data, forests, where),
        _adjustment(data, where),
    )


def _validity(data: Mapping[str, Any], arrays: Mapping[str, np.ndarray], where: str) -> Validity:
    if "validity" not in data:
        return Validity()
    own = _below("validity/", arrays)
    return validity_from_parts(data["validity"], own, f"{where}: validity")


def _intervals(data: Mapping[str, Any], forests: Mapping[str, Forest], where: str) -> Intervals:
    if "intervals" not in data:
        return Intervals()
    return intervals_from_dict(data["intervals"], forests, f"{where}: intervals")


def _adjustment(data: Mapping[str, Any], where: str) -> Adjustment | None:
    if "adjustment" not in data:
        return None
    return adjustment_from_dict(data["adjustment"], f"{where}: adjustment")


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _forests(arrays: Mapping[str, np.ndarray], where: str) -> dict[str, Forest]:
    grouped: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        group, _, part = name.partition("/")
        if group not in ("mapping", "validity"):
            grouped.setdefault(group, {})[part] = array
    try:
        return {name: forest_from_arrays(parts) for name, parts in grouped.items()}
    except ArtefactError as error:
        raise ArtefactError(f"{where}: {_ARRAYS}: {error}") from None


def _mapping(data: dict[str, Any], arrays: Mapping[str, np.ndarray], where: str) -> MappingModel:
    try:
        return mapping_from_parts(data, _below("mapping/", arrays))
    except (ArtefactError, AttributeError, IndexError, *BROKEN) as error:
        raise ArtefactError(f"{where}: mapping: {one_line(error)}") from None


def _overhead(data: Mapping[str, Any], where: str) -> NetworkOverhead:
    place = f"{where}: overhead"
    stored = _get(data, "overhead", dict, where)
    values = {each.name: _number(stored, each.name, place) for each in fields(NetworkOverhead)}
    for name, value in values.items():
        if value < 0:
            raise ArtefactError(f"{place}: {name} is {value}, must be at least 0")
    return NetworkOverhead(**values)


def _parse_header(data: Mapping[str, Any], where: str) -> Header:
    about = _get(data, "header", dict, where)
    place = f"{where}: header"
    text = {k: _get(about, k, str, place) for k in ("platform", "code_version", "created", "run")}
    tables = {k: _get(about, k, dict, place) for k in ("data_hashes", "host", "toolchain")}
    for name, table in (*tables.items(), ("notes", _get(about, "notes", list, place))):
        for value in table.values() if isinstance(table, dict) else table:
            _typed(value, str, f"{place}: {name}")
    ranges = _get(about, "ranges", dict, place)
    counts = _get(about, "counts", dict, place)
    return Header(
        **text,
        **tables,
        seed=_get(about, "seed", int, place),
        fit_metrics=_get(about, "fit_metrics", dict, place),
        ranges={op: _ranges(ranges[op], f"{place}: ranges: {op}") for op in ranges},
        counts={op: _get(counts, op, int, f"{place}: counts") for op in counts},
        notes=tuple(about["notes"]),
        bits=_get(about, "bits", int, place),
        recalibrated=_typed(about.get("recalibrated", ""), str, f"{place}: recalibrated"),
    )


def _ranges(data: object, where: str) -> dict[str, tuple[float, float]]:
    found = {}
    for name, pair in _typed(data, dict, where).items():
        if len(_typed(pair, list, f"{where}: {name}")) != 2:
            raise ArtefactError(f"{where}: {name} has {len(pair)} values, must be [min, max]")
        place = f"{where}: {name}"
        found[name] = (
            _number({"minimum": pair[0]}, "minimum", place),
            _number({"maximum": pair[1]}, "maximum", place),
        )
    return found


def _header(bundle: zipfile.ZipFile, where: str) -> dict[str, Any]:
    text = read_member(bundle, _HEADER, _LARGEST_HEADER, where)
    place = f"{where}: {_HEADER}"
    try:
        data = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ArtefactError(f"{place} is corrupt: {one_line(error)}") from None
    if _typed(data, dict, place).get("format") != FORMAT:
        _fail(place, f"format is {data.get('format')!r}", [FORMAT])
    if data.get("schema_version") != SCHEMA_VERSION:
        version = f"schema version is {data.get('schema_version')!r}"
        _fail(place, version, [f"{SCHEMA_VERSION} (generate the platform model anew)"])
    return data


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")


def _fail(where: str, what: str, allowed: object) -> NoReturn:
    raise ArtefactError(f"{where}: {what}, legal: {legal(allowed)}")


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ArtefactError(f"{where}: found {type(value).__name__}, must be {kind.__name__}")
    return value


def _get(data: Mapping[str, Any], name: str, kind: type, where: str) -> Any:
    if name not in data:
        raise ArtefactError(f"{where}: lacks {name}")
    return _typed(data[name], kind, f"{where}: {name}")


def _number(data: Mapping[str, Any], name: str, where: str) -> float:
    value = data.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise ArtefactError(f"{where}: {name} is {value!r}, must be a finite number")
    return float(value)
