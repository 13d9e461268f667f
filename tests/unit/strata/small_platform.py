"""A hand-made platform whose rooflines give round numbers, and small networks for it."""

import numpy as np

from strata import operations as op
from strata.builder import GraphBuilder
from strata.estimate import Estimate
from strata.forest import Forest
from strata.graph import Graph
from strata.layer_models import Refined, Roofline, Unrolling
from strata.mapping import MappingModel
from strata.platform_model import Header, NetworkOverhead, PlatformModel

CONVOLUTION = Roofline(peak_ops_per_s=36.864e6, peak_bytes_per_s=62.08e6, floor_s=1e-6)
POOLING = Roofline(peak_ops_per_s=2.56e6, peak_bytes_per_s=1.28e6, floor_s=1e-6)
CONCAT = Roofline(peak_ops_per_s=None, peak_bytes_per_s=4e6, floor_s=1e-6)


def leaf(value: float) -> Forest:
    """A forest of one leaf."""
    one = np.array([-1], dtype=np.int64)
    zero = np.array([0], dtype=np.int64)
    return Forest(one, np.array([0.0]), zero, zero, np.array([value]), zero)


def platform(
    layer_models: dict | None = None,
    mapping: MappingModel | None = None,
    overhead: NetworkOverhead | None = None,
    ranges: dict | None = None,
) -> PlatformModel:
    if layer_models is None:
        # 16 filters on 32 units: u_eff = 1/2 by equation 3
        refined = Refined(CONVOLUTION, (Unrolling("filters", 32, 0.0),))
        layer_models = {
            "convolution": {"roofline": CONVOLUTION, "refined": refined},
            "max_pooling": {"roofline": POOLING},
        }
    return PlatformModel(
        Header("made_by_hand", "0", "2025-01-01T00:00:00+00:00", "test", 0, ranges=ranges or {}),
        layer_models,
        mapping or MappingModel(),
        overhead or NetworkOverhead(),
    )


def network() -> Graph:
    """Convolution, ReLU, max pooling, flatten."""
    build = GraphBuilder("small")
    # MACs 16*16 * 8*9 = 18,432, so 36,864 operations: 1 ms at 36.864e6/s.
    # bytes 4 * (8*16 + 16*8*9 + 16 + 16*16) = 6,208: 0.1 ms at 62.08e6/s
    build.convolution(build.input(1, 8, 4, 4), 16, 3, name="convolution")
    # 4 * 2 * 256 = 2,048 bytes, 256 operations
    build.add(op.Activation("relu"), "convolution", name="relu")
    # 64 outputs of 4 operations: 0.1 ms at 2.56e6/s; 4 * (256 + 64) = 1,280 bytes: 1 ms
    build.pooling("relu", "max", 2, name="pooling")
    build.add(op.Flatten(), "pooling", name="flatten")
    return build.build()


def with_opaque() -> Graph:
    build = GraphBuilder("partly mapped")
    source = build.input(1, 8, 4, 4)
    build.convolution(source, 16, 3, name="convolution")
    # reads 1,024 bytes, writes 4 * 64 = 256: 1 ms at the lowest bandwidth, 1.28e6/s
    build.add(op.Opaque("NonMaxSuppression", (1, 64)), "convolution", name="detections")
    build.add(op.Opaque("Loop", (1, 64)), "convolution", name="loop")
    return build.build()


def rows(found: Estimate) -> dict:
    return {layer.name: layer for layer in found.layers}
