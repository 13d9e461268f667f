"""Networks to measure near, against the counts their papers and reference implementations give."""

import pytest

from graph_gen import networks_varied as varied
from graph_gen.published_edge_tpu_mobilenets import parameters


# MACs in millions and parameters in millions. RegNet: Radosavovic et al., tables of models;
# ShuffleNet V2: Ma et al., table 8; ConvNeXt: Liu et al., table 12; VoVNet-39: 22.6 M in Lee et al.
@pytest.mark.parametrize(
    ("build", "name", "macs_m", "parameters_m"),
    [
        (varied.regnet, "regnet_x_200mf", 200, 2.7),
        (varied.regnet, "regnet_x_400mf", 400, 5.2),
        (varied.regnet, "regnet_x_600mf", 600, 6.2),
        (varied.regnet, "regnet_x_800mf", 800, 7.3),
        (varied.regnet, "regnet_x_1600mf", 1600, 9.2),
        (varied.regnet, "regnet_x_3200mf", 3200, 15.3),
        (varied.regnet, "regnet_y_400mf", 400, 4.3),
        (varied.regnet, "regnet_y_800mf", 800, 6.3),
        (varied.regnet, "regnet_y_1600mf", 1600, 11.2),
        (varied.shufflenet_v2, "shufflenet_v2_0.5", 41, 1.4),
        (varied.shufflenet_v2, "shufflenet_v2_1.0", 146, 2.3),
        (varied.shufflenet_v2, "shufflenet_v2_1.5", 299, 3.5),
        (varied.shufflenet_v2, "shufflenet_v2_2.0", 591, 7.4),
        (varied.vovnet, "vovnet_39", 7100, 22.6),
        (varied.convnext, "convnext_tiny", 4500, 28.6),
        (varied.convnext, "convnext_small", 8700, 50.0),
        (varied.convnext, "convnext_base", 15_400, 88.6),
    ],
)
def test_counts_are_the_published_ones(build, name, macs_m, parameters_m):
    graph = build(name)
    assert graph.work.macs / 1e6 == pytest.approx(macs_m, rel=0.02)
    assert parameters(graph) / 1e6 == pytest.approx(parameters_m, rel=0.03)


def test_super_resolution_counts():
    # FSRCNN (56, 12, 4): 12,464 weights in the paper's table 1; EDSR baseline x2: 1.37 M
    weights = parameters(varied.fsrcnn()) - (56 + 12 + 4 * 12 + 56 + 1)  # without biases
    assert weights == 12_464
    assert parameters(varied.edsr()) / 1e6 == pytest.approx(1.37, rel=0.02)
