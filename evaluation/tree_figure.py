"""Figure 8 of ANNETTE: the decision tree that says whether two layers are fused, drawn or as rules.

A tree is taken from a `strata.forest.Forest`, whose leaf values are probabilities of fusion.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from evaluation.plot_style import new_figure, styled
from strata.errors import SchemaError
from strata.forest import Forest

YES, NO = "#0072B2", "#E69F00"
DEEPEST_DRAWN = 4
DEEPEST_READ = 100  # far deeper than any mapping tree; keeps the recursion short


@dataclass(frozen=True, slots=True)
class Node:
    """A node of one tree: a test with two branches, or an answer with the probability of yes."""

    probability: float | None
    feature: str = ""
    threshold: float = 0.0
    yes: "Node | None" = None
    no: "Node | None" = None

    @property
    def branches(self) -> tuple["Node", ...]:
        """The nodes below, the one where the test holds first."""
        return tuple(node for node in (self.yes, self.no) if node is not None)

    @property
    def leaves(self) -> int:
        """Answers below, or 1 for an answer."""
        return sum(node.leaves for node in self.branches) or 1

    @property
    def depth(self) -> int:
        """Tests on the longest way to an answer."""
        return 1 + max(node.depth for node in self.branches) if self.branches else 0


def tree_node(forest: Forest, feature_names: Sequence[str], tree: int = 0) -> Node:
    """The tree as nested nodes, branches with the same answer (yes, no) on both sides merged.

    ArtefactError for a forest that breaks its own rules, SchemaError for a tree that it does not
    have or that is deeper than DEEPEST_READ tests.
    """
    forest.check(len(feature_names))
    if not 0 <= tree < len(forest.roots):
        raise SchemaError(f"forest: no tree {tree}, legal: 0 to {len(forest.roots) - 1}")
    return _node(forest, feature_names, int(forest.roots[tree]))


def _node(forest: Forest, names: Sequence[str], place: int, level: int = 0) -> Node:
    if level > DEEPEST_READ:
        raise SchemaError(f"forest: tree deeper than {DEEPEST_READ} tests, too deep to draw")
    feature = int(forest.feature[place])
    if feature < 0:
        return Node(float(forest.value[place]))
    below = [
        _node(forest, names, int(side[place]), level + 1) for side in (forest.left, forest.right)
    ]
    first, second = (node.probability for node in below)
    if first is not None and first == second:
        return below[0]
    return Node(None, names[feature], float(forest.threshold[place]), *below)


def _name(feature: str) -> str:
    return feature.replace("_", " ")


def _number(value: float) -> str:
    """Thresholds between whole numbers read as the whole number below: x <= 63.5 is x <= 63."""
    if value % 1 == 0.5:
        value = np.floor(value)
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def _answer(probability: float, answers: tuple[str, str]) -> str:
    text = answers[0] if probability > 0.5 else answers[1]
    certainty = max(probability, 1 - probability)
    return text if certainty > 0.9995 else f"{text} ({certainty:.0%})"


def tree_rules(
    forest: Forest,
    feature_names: Sequence[str],
    tree: int = 0,
    answers: tuple[str, str] = ("fused", "not fused"),
) -> str:
    """The tree as indented text, one line per test or answer, always ending with a newline.

    Example: "if producer filters <= 64:\\n    fused\\nelse:\\n    not fused\\n".
    """
    return "\n".join(_rules(tree_node(forest, feature_names, tree), "", answers)) + "\n"


def _rules(node: Node, indent: str, answers: tuple[str, str]) -> Iterator[str]:
    if node.probability is not None:
        yield indent + _answer(node.probability, answers)
        return
    for branch, head in zip(
        node.branches,
        (f"if {_name(node.feature)} <= {_number(node.threshold)}:", "else:"),
        strict=True,
    ):
        yield indent + head
        yield from _rules(branch, indent + "    ", answers)


def fusion_tree(
    forest: Forest,
    feature_names: Sequence[str],
    title: str,
    tree: int = 0,
    deepest: int = DEEPEST_DRAWN,
    answers: tuple[str, str] = ("fused", "not fused"),
) -> Figure:
    """One tree drawn from the root down to `deepest` tests; what is cut says how much it hides."""
    root = tree_node(forest, feature_names, tree)
    with styled():
        shown = min(root.depth, deepest)
        width = max(4.5, 1.5 * _width(root, deepest))
        figure = new_figure(width, 1.3 + 1.15 * (shown + 1))
        axes = figure.subplots()
        _draw(axes, root, 0.0, 0, deepest, answers)
        axes.set(xlim=(-0.1, _width(root, deepest) + 0.1), ylim=(-shown - 0.5, 0.5))
        axes.set_axis_off()
        axes.set_title(title)
    return figure


def _width(node: Node, deepest: int) -> int:
    if not node.branches or deepest == 0:
        return 1
    return sum(_width(branch, deepest - 1) for branch in node.branches)


def _draw(
    axes: Axes, node: Node, left: float, level: int, deepest: int, answers: tuple[str, str]
) -> tuple[float, float]:
    """Draw a node and what is below it, from `left`; its place, centred over its branches."""
    if not node.branches or level == deepest:
        here = (left + 0.5, float(-level))
        _box(axes, here, *_look(node, answers, cut=level == deepest))
        return here
    places = []
    for branch in node.branches:
        places.append(_draw(axes, branch, left, level + 1, deepest, answers))
        left += _width(branch, deepest - level - 1)
    here = ((places[0][0] + places[1][0]) / 2, float(-level))
    for place, text in zip(places, ("yes", "no"), strict=True):
        axes.plot(*zip(here, place, strict=True), color="#888888", linewidth=1, zorder=1)
        axes.text(
            0.5 * (here[0] + place[0]),
            0.5 * (here[1] + place[1]),
            text,
            fontsize=8,
            ha="center",
            va="center",
            backgroundcolor="white",
            color="#444444",
            zorder=2,
        )
    _box(axes, here, *_look(node, answers))
    return here


def _look(node: Node, answers: tuple[str, str], cut: bool = False) -> tuple[str, str, str]:
    """Text, face and ink of a node's box."""
    if node.probability is not None:
        fused = node.probability > 0.5
        return _answer(node.probability, answers), *((YES, "white") if fused else (NO, "#222222"))
    if cut:
        return f"… {node.leaves} answers\nbelow", "white", "#222222"
    return f"{_name(node.feature)}\n≤ {_number(node.threshold)}", "#F2F2F2", "#222222"


def _box(axes: Axes, place: tuple[float, float], text: str, face: str, ink: str) -> None:
    axes.text(
        *place,
        text,
        fontsize=8,
        ha="center",
        va="center",
        color=ink,
        zorder=3,
        bbox={"boxstyle": "round,pad=0.4", "facecolor": face, "edgecolor": "#666666"},
    )
