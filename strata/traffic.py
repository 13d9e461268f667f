"""How many bytes an executed layer moves per memory, for platforms whose toolchain says so.

A second target of the layer models, seen through the same feature matrix: bytes are a share of
what the layer has to move anyway, as its time is that of a peak, and a forest knows the share.
A layer without a model has unknown traffic, never none.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from strata.errors import ArtefactError, StrataError, legal
from strata.execution import FEATURES, ExecutedLayer
from strata.forest import Forest
from strata.profile import MEMORIES
from strata.validity import check_model_key
from strata.work import Work

# Where `every_byte_once` has weights and activations, the first memory that a platform has. That
# activations fit on the chip is its assumption: many a network's lie in DRAM.
_WEIGHTS_IN = ("flash", "dram", "sram")
_ACTIVATIONS_IN = ("sram", "dram", "flash")

Bytes = dict[str, float | None]


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """A forest and the features that its columns are."""

    forest: Forest
    feature_names: tuple[str, ...]

    def __post_init__(self) -> None:
        _known_features(self.feature_names)
        self.forest.check(len(self.feature_names))

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """The forest's values, (rows,), of a (rows, len(FEATURES)) matrix."""
        columns = [FEATURES.index(name) for name in self.feature_names]
        return self.forest.predict(matrix[:, columns])


@dataclass(frozen=True, slots=True, eq=False)
class TrafficModel:
    """Bytes that layers of one operation read from and write to one memory in one inference.

    A base times exp(`share`); `base` are bytes per unit of features, added up (at least 1 byte).
    Where `used` is 0.5 or less, the memory is not used and the bytes are 0; without `share` they
    are in every layer.
    """

    base: Mapping[str, float] = field(default_factory=dict)
    share: Trees | None = None
    used: Trees | None = None

    def __post_init__(self) -> None:
        _known_features(tuple(self.base))
        for name, weight in self.base.items():
            if not isinstance(weight, int | float) or not isfinite(weight) or weight < 0:
                raise ArtefactError(f"base: {name} is {weight!r}, must be finite and at least 0")

    def moved_bytes(self, matrix: np.ndarray) -> np.ndarray:
        """Bytes of each row of a (rows, len(FEATURES)) matrix, (rows,), at least 0."""
        if self.share is None:
            return np.zeros(len(matrix))
        with np.errstate(over="ignore"):
            moved = base_bytes(matrix, self.base) * np.exp(self.share.predict(matrix))
        return moved if self.used is None else np.where(self.used.predict(matrix) > 0.5, moved, 0.0)


def _known_features(names: Sequence[str]) -> None:
    for name in names:
        if name not in FEATURES:
            raise ArtefactError(f"unknown feature {name!r}, legal: {legal(FEATURES)}")


def base_bytes(matrix: np.ndarray, base: Mapping[str, float]) -> np.ndarray:
    """(rows,) weighted sums of features, at least 1: what a model of traffic scales."""
    columns = [FEATURES.index(name) for name in base]
    return np.maximum(matrix[:, columns] @ np.array(list(base.values())), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """The memories whose traffic a platform's toolchain tells, and models of it.

    `models` by `ExecutedLayer.model_key` and memory; what is missing there is unknown. Without
    memories nothing is said of traffic.
    """

    memories: tuple[str, ...] = ()
    models: Mapping[str, Mapping[str, TrafficModel]] = field(default_factory=dict)

    def layers_bytes(self, executed: Sequence[ExecutedLayer], matrix: np.ndarray) -> list[Bytes]:
        """Per layer the bytes of each memory, None where unknown; {} without memories.

        `matrix` is the layers' feature matrix. A layer that has nothing to do and no model moves
        nothing.
        """
        if not self.memories:
            return [{} for _ in executed]
        rows_of: dict[str, list[int]] = defaultdict(list)
        for row, layer in enumerate(executed):
            rows_of[layer.model_key].append(row)
        idle = np.all(matrix[:, [FEATURES.index("ops"), FEATURES.index("bytes")]] == 0, axis=1)
        found: list[Bytes] = [dict.fromkeys(self.memories) for _ in executed]
        for key, rows in rows_of.items():
            models = self.models.get(key, {})
            for memory in self.memories:
                if memory in models:
                    values = models[memory].moved_bytes(matrix[rows])
                else:
                    values = np.where(idle[rows], 0.0, np.nan)
                for row, value in zip(rows, values.tolist(), strict=True):
                    found[row][memory] = value if isfinite(value) else None
        return found


def summed(every: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Bytes per memory that all of them name, added up; what one does not name is unknown."""
    parts = list(every)
    return {
        memory: sum(part[memory] for part in parts)
        for memory in MEMORIES
        if parts and all(memory in part for part in parts)
    }


def every_byte_once(work: Work, memories: Sequence[str]) -> dict[str, float]:
    """Bytes per memory of those given that a layer moves as if activations fitted on the chip.

    Weights read once from where they are kept (flash, else DRAM), activations read and written
    once in SRAM where the platform has one. A baseline to hold models against, no lower bound of
    one memory: where activations lie in DRAM it says too little of DRAM and too much of SRAM.
    """
    moved = dict.fromkeys(memories, 0.0)
    if moved:
        weights = next(memory for memory in _WEIGHTS_IN if memory in moved)
        activations = next(memory for memory in _ACTIVATIONS_IN if memory in moved)
        moved[weights] += work.weight_bytes
        moved[activations] += work.input_bytes + work.output_bytes
    return moved


def traffic_to_dict(traffic: Traffic, store: Callable[[Forest], str]) -> dict[str, Any]:
    """A JSON-ready dict; `store` takes each forest and returns the name to refer to it by."""

    def trees(each: Trees | None) -> dict[str, Any] | None:
        if each is None:
            return None
        return {"forest": store(each.forest), "feature_names": list(each.feature_names)}

    models = {
        key: {
            memory: {
                "base": dict(model.base),
                "share": trees(model.share),
                "used": trees(model.used),
            }
            for memory, model in by_memory.items()
        }
        for key, by_memory in traffic.models.items()
    }
    return {"memories": list(traffic.memories), "models": models}


def traffic_from_dict(data: Any, forests: Mapping[str, Forest], where: str) -> Traffic:
    """What `traffic_to_dict` wrote; ArtefactError names `where` and what is wrong."""

    def trees(each: Any) -> Trees | None:
        if each is None:
            return None
        return Trees(forests[each["forest"]], tuple(each["feature_names"]))

    def model(each: Any) -> TrafficModel:
        return TrafficModel(dict(each["base"]), trees(each["share"]), trees(each["used"]))

    try:
        memories = tuple(data["memories"])
        _known_memories(memories, MEMORIES)
        models: dict[str, dict[str, TrafficModel]] = {}
        for key, by_memory in data["models"].items():
            check_model_key(key)
            _known_memories(tuple(by_memory), memories)
            models[key] = {memory: model(each) for memory, each in by_memory.items()}
        return Traffic(memories, models)
    except KeyError as error:
        raise ArtefactError(f"{where}: lacks or refers to unknown {error}") from None
    except (StrataError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{where}: {error}") from None


def _known_memories(names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ArtefactError(f"unknown memory {name!r}, legal: {legal(known)}")
