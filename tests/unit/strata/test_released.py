"""The platform models that come with the code load and estimate: what the README starts with."""

from pathlib import Path

import pytest

from graph_gen.zoo import ZOO
from strata.estimate import KINDS, estimate
from strata.platform_model import load_platform_model

RELEASED = sorted((Path(__file__).parents[3] / "results" / "platforms").glob("*.strata"))


def test_the_released_platforms_are_there():
    assert [path.stem for path in RELEASED] == [
        *("dpu_zcu102", "edge_tpu_usb3", "ncs2", "openvino_cpu")
    ]


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_a_released_platform_estimates_a_network(path):
    platform = load_platform_model(path)
    assert platform.header.platform == path.stem
    graph = ZOO["resnet18"].build()
    for kind in KINDS:
        found = estimate(graph, platform, kind)
        assert 1e-3 < found.total_s < 1e-1  # 3.7 Gop at 0.04 to 4 Top/s
        assert found.unmapped == ()
    assert found.fell_back == 0
