"""From shards to typed tables: one per layer type, one of mapping decisions, one of networks.

ANNETTE, section 4: a layer result file for each executed layer and an optimisation mapping file
for the entire benchmark. Refused cases have a table of their own.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmark.matcher import EdgeRow, Match, MatchedLayer, match
from benchmark.plan import MAPPING_ONLY, TOTAL_ONLY, purpose_of
from benchmark.shards import read_shard
from strata.atomic import replacing
from strata.edges import EDGE_FEATURES
from strata.errors import MatchError
from strata.execution import FEATURES, feature_matrix
from strata.graph import Graph, with_bits
from strata.graph_json import graph_to_dict
from strata.link import leaving_bytes
from strata.placement import PLACEMENT_FEATURES, placed_rows
from strata.profile import MEMORIES, Profile
from strata.profile_json import profile_from_dict
from strata.traffic import summed

Build = Callable[[str, Mapping[str, Any]], Graph]

_TEXT, _NUMBER, _COUNT = pa.string(), pa.float64(), pa.int64()

LAYER_SCHEMA = pa.schema(
    [
        ("case_id", _TEXT),
        ("benchmark", _TEXT),
        ("network", _TEXT),
        ("sweep", _TEXT),
        ("sweep_group", _TEXT),
        ("data_set", _TEXT),
        ("layer", _TEXT),
        ("kind", _TEXT),
        ("other_core_load", _NUMBER),
        *((name, _NUMBER) for name in FEATURES),
        ("time_s", _NUMBER),
        *((f"{memory}_bytes", _NUMBER) for memory in MEMORIES),
        ("samples_s", pa.list_(_NUMBER)),
        ("absorbed", pa.list_(_TEXT)),
        ("following", pa.list_(_TEXT)),
    ]
)
MAPPING_SCHEMA = pa.schema(
    [
        ("case_id", _TEXT),
        ("benchmark", _TEXT),
        ("role", _TEXT),
        ("producer", _TEXT),
        ("consumer", _TEXT),
        ("producer_operation", _TEXT),
        ("consumer_operation", _TEXT),
        ("flag", _TEXT),
        *((name, _NUMBER) for name in EDGE_FEATURES),
    ]
)
PLACEMENT_SCHEMA = pa.schema(
    [
        ("case_id", _TEXT),
        ("benchmark", _TEXT),
        ("operation", _TEXT),
        ("placement", _TEXT),
        *((name, _NUMBER) for name in PLACEMENT_FEATURES),
    ]
)
NETWORK_SCHEMA = pa.schema(
    [
        ("case_id", _TEXT),
        ("benchmark", _TEXT),
        ("network", _TEXT),
        ("time_s", _NUMBER),
        ("samples_s", pa.list_(_NUMBER)),
        ("layers_s", _NUMBER),
        ("inserted_s", _NUMBER),
        ("unmatched_s", _NUMBER),
        *((f"{memory}_bytes", _NUMBER) for memory in MEMORIES),
        ("executed_layers", _COUNT),
        ("input_bytes", _COUNT),
        ("output_bytes", _COUNT),
        ("strides_moved", _TEXT),
        ("odd_shapes", _COUNT),
        ("wall_s", _NUMBER),
        ("device_s", _NUMBER),
        ("attempts", _COUNT),
        ("other_core_load", _NUMBER),
        ("bits", _COUNT),
        ("host", _TEXT),
        ("toolchain", _TEXT),
    ]
)
CALIBRATION_SCHEMA = pa.schema(
    [
        ("case_id", _TEXT),
        ("benchmark", _TEXT),
        ("family", _TEXT),
        ("time_s", _NUMBER),
        ("wall_s", _NUMBER),
        ("device_s", _NUMBER),
        ("other_core_load", _NUMBER),
        ("graph", _TEXT),
    ]
)
REFUSAL_SCHEMA = pa.schema(
    [("case_id", _TEXT), ("benchmark", _TEXT), ("settings", _TEXT), ("reason", _TEXT)]
)

_STRIDES_MOVED = {None: "nothing to move", True: "moved", False: "kept"}


@dataclass(slots=True)
class Rows:
    """Rows of all tables, collected case by case."""

    layers: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    mapping: list[dict[str, Any]] = field(default_factory=list)
    placements: list[dict[str, Any]] = field(default_factory=list)
    networks: list[dict[str, Any]] = field(default_factory=list)
    calibration: list[dict[str, Any]] = field(default_factory=list)
    refusals: list[dict[str, Any]] = field(default_factory=list)

    def extend(self, other: "Rows") -> None:
        """Append another collection."""
        for operation, rows in other.layers.items():
            self.layers[operation] += rows
        self.mapping += other.mapping
        self.placements += other.placements
        self.networks += other.networks
        self.calibration += other.calibration
        self.refusals += other.refusals


def _edge_row(case: Mapping[str, Any], role: str, row: EdgeRow) -> dict[str, Any]:
    producer, consumer = row.key.split("->")
    return {
        "case_id": case["case_id"],
        "benchmark": case["benchmark"],
        "role": role,
        "producer": row.edge.producer.name if row.edge else "",
        "consumer": row.edge.consumer.name if row.edge else "",
        "producer_operation": producer,
        "consumer_operation": consumer,
        "flag": row.flag,
        **dict(zip(EDGE_FEATURES, map(float, row.features), strict=True)),
    }


def placements_of(case: Mapping[str, Any], found: Match) -> Iterator[dict[str, Any]]:
    """How each executed layer was run, and what the network asked for beside it."""
    executed = [layer.executed for layer in found.layers]
    for layer, row in zip(executed, placed_rows(executed), strict=True):
        yield {
            "case_id": case["case_id"],
            "benchmark": case["benchmark"],
            "operation": layer.operation,
            "placement": layer.placement,
            **dict(zip(PLACEMENT_FEATURES, map(float, row), strict=True)),
        }


def _traffic_cells(traffic_bytes: Mapping[str, float]) -> dict[str, float | None]:
    """Bytes per memory, null where they are not known."""
    return {f"{memory}_bytes": traffic_bytes.get(memory) for memory in MEMORIES}


def _layer_row(
    record: Mapping[str, Any], graph: Graph, layer: MatchedLayer, features: Iterable[float]
) -> dict[str, Any]:
    case, tags = record["case"], record.get("tags", {})
    # what else stands in a kernel's graph, such as what a pooling reads, was drawn for nothing
    drawn = layer.executed.operation == case["benchmark"]
    return {
        "case_id": case["case_id"],
        "benchmark": case["benchmark"],
        "network": graph.name,
        "sweep": tags.get("sweep", ""),
        "sweep_group": tags.get("sweep_group", ""),
        "data_set": tags.get("data_set", "") if drawn else "",
        "layer": layer.executed.name,
        "kind": layer.kind,
        "other_core_load": record.get("other_core_load"),
        **dict(zip(FEATURES, features, strict=True)),
        "time_s": layer.time_s,
        **_traffic_cells(layer.traffic_bytes),
        "samples_s": list(layer.readings_s),
        "absorbed": [absorbed.name for absorbed in layer.executed.absorbed],
        "following": [":".join(flag) for flag in layer.following],
    }


def _network_row(
    record: Mapping[str, Any], graph: Graph, profile: Profile, found: Match
) -> dict[str, Any]:
    case = record["case"]
    inserted = [layer for layer in found.layers if layer.executed.operation == "reorder"]
    return {
        "case_id": case["case_id"],
        "benchmark": case["benchmark"],
        "network": graph.name,
        "time_s": profile.time_s,
        "samples_s": list(profile.samples_s),
        "layers_s": sum(layer.time_s for layer in found.layers),
        "inserted_s": sum(layer.time_s for layer in inserted),
        "unmatched_s": found.unmatched_s,
        **_traffic_cells(summed(node.traffic_bytes for node in profile.nodes)),
        "executed_layers": len(found.layers),
        "input_bytes": graph.input_bytes,
        "output_bytes": leaving_bytes(graph, [layer.executed for layer in found.layers]),
        "strides_moved": _STRIDES_MOVED[found.strides_moved],
        "odd_shapes": found.odd_shapes,
        "wall_s": record.get("wall_s", 0.0),
        "device_s": record.get("device_s", 0.0),
        "attempts": int(record.get("attempts", 1)),
        "other_core_load": record.get("other_core_load"),
        "bits": profile.bits,
        "host": json.dumps(profile.host, sort_keys=True),
        "toolchain": json.dumps(profile.toolchain, sort_keys=True),
    }


def _calibration_row(record: Mapping[str, Any], graph: Graph, profile: Profile) -> dict[str, Any]:
    """A network's total, and its graph, which the finished model is asked about.

    `family` is the published one it is drawn from; random networks have none.
    """
    return {
        "case_id": record["case"]["case_id"],
        "benchmark": record["case"]["benchmark"],
        "family": record["case"]["settings"].get("family"),
        "time_s": profile.time_s,
        "wall_s": record.get("wall_s", 0.0),
        "device_s": record.get("device_s", 0.0),
        "other_core_load": record.get("other_core_load"),
        "graph": json.dumps(graph_to_dict(graph), separators=(",", ":")),
    }


def add_match(
    rows: Rows, record: Mapping[str, Any], graph: Graph, profile: Profile, found: Match
) -> None:
    """Add one matched case: its mapping, and the times that are known, in all if every layer's.

    Of a case that was planned for its mapping only, no time.
    """
    case = record["case"]
    rows.mapping += [_edge_row(case, "fusion", row) for row in found.fusions]
    rows.mapping += [_edge_row(case, "insertion", row) for row in found.insertions]
    rows.placements += placements_of(case, found)
    if purpose_of(record) == MAPPING_ONLY:
        return
    matrix = feature_matrix([layer.executed for layer in found.layers])
    for layer, values in zip(found.layers, matrix, strict=True):
        if layer.timed:
            row = _layer_row(record, graph, layer, values.tolist())
            rows.layers[layer.executed.model_key].append(row)
    if not profile.untimed:
        rows.networks.append(_network_row(record, graph, profile, found))


def add_record(rows: Rows, record: Mapping[str, Any], build: Build, where: str) -> None:
    """Match one shard record; refusals and profiles that do not match become refusal rows.

    So do those with a layer of unknown time, beside the rows that they give.
    """
    case = record["case"]
    profile = profile_from_dict(record["profile"], where)
    reason = profile.refusal or profile.untimed
    if profile.whole:
        reason = reason or "only the end-to-end time is known: make_black_box_tables reads it"
    elif profile.refusal is None:
        graph = with_bits(build(case["benchmark"], case["settings"]), profile.bits)
        if purpose_of(record) == TOTAL_ONLY:
            if reason is None:
                rows.calibration.append(_calibration_row(record, graph, profile))
        else:
            try:
                add_match(rows, record, graph, profile, match(graph, profile))
            except MatchError as error:
                reason = str(error)
    if reason is not None:
        rows.refusals.append(
            {
                "case_id": case["case_id"],
                "benchmark": case["benchmark"],
                "settings": json.dumps(case["settings"], sort_keys=True),
                "reason": reason,
            }
        )


def rows_of_shard(path: Path, build: Build) -> Rows:
    """All rows of one shard."""
    rows = Rows()
    for number, record in enumerate(read_shard(path), 1):
        add_record(rows, record, build, f"{path}, line {number}")
    return rows


def _write(rows: Iterable[dict[str, Any]], schema: pa.Schema, path: Path) -> None:
    with replacing(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)


def write_tables(rows: Rows, folder: Path) -> None:
    """Write layers/<operation>[@<placement>].parquet, mapping.parquet, placements.parquet,
    networks.parquet, calibration.parquet, refusals.parquet.
    """
    (folder / "layers").mkdir(parents=True, exist_ok=True)
    for stale in (folder / "layers").glob("*.parquet"):
        stale.unlink()
    for operation, layer_rows in sorted(rows.layers.items()):
        _write(layer_rows, LAYER_SCHEMA, folder / "layers" / f"{operation}.parquet")
    _write(rows.mapping, MAPPING_SCHEMA, folder / "mapping.parquet")
    _write(rows.placements, PLACEMENT_SCHEMA, folder / "placements.parquet")
    _write(rows.networks, NETWORK_SCHEMA, folder / "networks.parquet")
    _write(rows.calibration, CALIBRATION_SCHEMA, folder / "calibration.parquet")
    _write(rows.refusals, REFUSAL_SCHEMA, folder / "refusals.parquet")


def read_layer_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Layer tables by operation."""
    return {
        path.stem: pd.read_parquet(path) for path in sorted((folder / "layers").glob("*.parquet"))
    }
