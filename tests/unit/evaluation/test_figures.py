"""Figures show the numbers they are given; trees say what they decide."""

import numpy as np
import pytest

from evaluation import figures
from evaluation.plot_style import save_figure
from evaluation.surface import Slice, best_slice, measured_points, utilisation_surface
from evaluation.tree_figure import fusion_tree, tree_node, tree_rules
from strata.errors import ArtefactError, SchemaError
from strata.execution import FEATURES


def texts(figure) -> set[str]:
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_scatter_has_a_panel_per_kind_and_names_table2_networks(networks):
    figure = figures.predicted_against_measured(networks)
    assert [axes.get_title().split(":")[0] for axes in figure.axes] == [
        *("Roofline", "Ref. roofline", "Statistical", "Mixed")
    ]
    assert {"resnet50", "openpose"} <= texts(figure)
    assert "vgg16" not in texts(figure)
    assert {axes.get_xlabel() for axes in figure.axes} == {"Measured (ms)"}


def test_labels_keep_their_distance():
    heights = figures._label_heights(np.array([100.0, 101.0, 50.0]), -1)
    assert np.diff(np.sort(heights)).min() >= figures.LABEL_GAP
    assert (heights < [100, 101, 50]).all()


def test_bars_show_signed_errors(networks):
    top, bottom = figures.network_bars(networks).axes
    heights = sorted(bar.get_height() for bar in bottom.patches if bar.get_width() < 0.5)
    chosen = networks[(networks["set"] == "table2") & (networks["mapping"] == "predicted")]
    errors = sorted(100 * (chosen["estimated_s"] / chosen["measured_s"] - 1))
    assert heights == pytest.approx(errors)
    assert top.get_ylabel() == "Latency (ms)"


def test_networks_whose_totals_lack_layers_are_marked(networks):
    whole = figures.network_bars(networks)
    assert "incomplete" not in whole._suptitle.get_text()
    lacking = networks.assign(untimed=(networks["network"] == "yolo_v3").astype(int))
    bars = figures.network_bars(lacking)
    assert bars._suptitle.get_text().endswith(", 1 incomplete")
    ticks = {text.get_text() for text in bars.axes[1].get_xticklabels()}
    assert {"yolo_v3 (incomplete)", "yolo_v2"} <= ticks
    scatter = figures.predicted_against_measured(lacking)
    assert "yolo_v3 (incomplete)" in texts(scatter)
    assert all(axes.get_title().endswith("50 networks, 1 incomplete") for axes in scatter.axes)
    assert "incomplete" not in figures.fidelity(lacking).axes[0].get_title()


def test_absent_set_is_named(networks):
    with pytest.raises(SchemaError, match="no networks of set imagenet"):
        figures.network_bars(networks, "imagenet")


def test_shares_fill_the_whole(networks, layers):
    axes = figures.time_share(networks[networks["set"] == "keras"], layers).axes[0]
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(4 * 100)


def test_error_stacks_add_up_to_the_dots(networks, layers):
    keras = networks[networks["set"] == "keras"]
    axes = figures.error_sources(keras, layers).axes[0]
    dots = next(line for line in axes.lines if line.get_label() == "total error")
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(sum(dots.get_xdata()))


def test_slice_is_a_grid_of_convolutions():
    matrix = Slice(3, 28, 16, 48, 3).matrix()
    columns = {name: matrix[:, FEATURES.index(name)] for name in FEATURES}
    assert matrix.shape == (9, len(FEATURES))
    assert columns["channels"].tolist() == [16, 32, 48] * 3
    assert columns["filters"].tolist() == [16] * 3 + [32] * 3 + [48] * 3
    assert set(columns["output_height"]) == {28}
    # 28 * 28 * 3 * 3 * 16 * 16 multiply-accumulates
    assert columns["macs"][0] == 28 * 28 * 9 * 256


def test_best_slice_goes_where_the_points_are(convolution_table):
    found = best_slice(convolution_table)
    assert (found.kernel, found.size) == (3, 28)
    assert len(measured_points(convolution_table, found)) == 30
    assert best_slice(None).size == 28
    assert best_slice(convolution_table.assign(kernel_width=5)).size == 28


def test_surface_shows_models_and_points(convolution_models, convolution_table):
    where = Slice(3, 28, 8, 64, 8)
    figure = utilisation_surface(convolution_models, where, convolution_table)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [
        f"{kind}: {what}"
        for kind in ("Ref. roofline", "Statistical", "Mixed")
        for what in ("time", "effective performance")
    ]
    assert (
        "no measured points" in utilisation_surface(convolution_models, where)._suptitle.get_text()
    )


def test_surface_needs_a_model(convolution_models):
    with pytest.raises(SchemaError, match="found roofline"):
        utilisation_surface({"roofline": convolution_models["roofline"]}, Slice())


def test_rules_read_as_the_tree_decides(pooling_tree):
    assert tree_rules(pooling_tree, ("producer_channels", "b")) == (
        "if producer channels <= 64:\n"
        "    if b <= 32:\n"
        "        fused\n"
        "    else:\n"
        "        not fused (75%)\n"
        "else:\n"
        "    not fused\n"
    )


def test_branches_with_one_answer_are_merged(forest_of):
    same = forest_of([(0, 5.0, 1, 2), (1.0,), (1.0,)])
    assert tree_rules(same, ("a",)) == "fused\n"


def test_tree_is_drawn_with_its_tests_and_answers(pooling_tree):
    figure = fusion_tree(pooling_tree, ("a", "b"), "title")
    assert {"a\n≤ 64", "b\n≤ 32", "fused", "not fused", "not fused (75%)", "yes"} <= texts(figure)


def test_cut_tree_says_how_much_it_hides(pooling_tree):
    assert "… 2 answers\nbelow" in texts(fusion_tree(pooling_tree, ("a", "b"), "t", deepest=1))


def test_trees_that_cannot_be_read_are_refused(pooling_tree, forest_of):
    with pytest.raises(ArtefactError, match="1 columns"):
        tree_node(pooling_tree, ("a",))
    with pytest.raises(SchemaError, match="no tree 1, legal: 0 to 0"):
        tree_node(pooling_tree, ("a", "b"), 1)
    deep = [
        node for i in range(150) for node in ((0, float(i), 2 * i + 1, 2 * i + 2), (float(i % 2),))
    ]
    with pytest.raises(SchemaError, match="too deep to draw"):
        tree_node(forest_of([*deep, (0.0,)]), ("a",))


def test_saved_figures_are_repeatable(tmp_path, networks):
    paths = [
        save_figure(figures.fidelity(networks), tmp_path / folder, "fidelity") for folder in "ab"
    ]
    for first, second in zip(*paths, strict=True):
        assert first.stat().st_size > 10_000
        assert first.read_bytes() == second.read_bytes()
