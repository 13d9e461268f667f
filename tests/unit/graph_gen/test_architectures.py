"""Networks of published families: legal for every seed, of many sizes, of no evaluated family."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.layer_sources import excluded_family
from graph_gen.architectures import FAMILIES
from graph_gen.benchmarks import build
from strata.errors import SchemaError


@pytest.mark.parametrize("family", FAMILIES)
@given(seed=st.integers(0, 2**63 - 1))
@settings(max_examples=8, deadline=None)
def test_any_seed_gives_the_same_network_twice(family, seed):
    graph = build("architectures", {"seed": seed, "family": family})
    assert graph == build("architectures", {"seed": seed, "family": family})
    assert graph.work.macs > 0
    assert len(graph.layers) >= 10


@pytest.mark.parametrize("family", FAMILIES)
def test_no_family_is_evaluated_and_its_networks_differ(family):
    assert excluded_family(family) is None
    graphs = [build("architectures", {"seed": seed, "family": family}) for seed in range(8)]
    assert len({graph.work.macs for graph in graphs}) >= 4


def test_an_unknown_family_is_refused_with_the_legal_ones():
    with pytest.raises(SchemaError, match=r"family.*legal: regnet, vovnet"):
        build("architectures", {"seed": 1, "family": "resnet"})
