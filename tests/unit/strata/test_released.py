"""The platform models that come with the code load and estimate: what the README starts with."""

from pathlib import Path

import pytest

from graph_gen.zoo import ZOO
from strata.estimate import KINDS, estimate
from strata.platform_model import load_platform_model
from strata.report import as_dict, table_text

RELEASED = sorted((Path(__file__).parents[3] / "results" / "platforms").glob("*.strata"))


def test_the_released_platforms_are_there():
    assert [path.stem for path in RELEASED] == [
        *("dpu_zcu102", "edge_tpu_usb3", "ethos_u55_256", "ethos_u65_512"),
        *("ncs2", "openvino_cpu"),
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


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: path.stem)
def test_an_estimate_says_where_nothing_was_measured(path):
    """Vela's cycles are a compiler's estimates: every form of output must say so."""
    found = estimate(ZOO["resnet18"].build(), load_platform_model(path))
    said = "the vendor compiler's estimates, not measurements"
    expected = path.stem.startswith("ethos_u")
    assert (said in table_text(found)) == expected
    assert (as_dict(found).get("times") == said) == expected
