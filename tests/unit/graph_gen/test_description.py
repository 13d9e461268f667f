import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph_gen.description import instantiate, load_description, parse_description
from graph_gen.expressions import evaluate, fill, names
from strata import operations as op
from strata.errors import ArtefactError, SchemaError

SMALL = """
name: small
settings:
  channels: {minimum: 1, maximum: 64}
  depth: {minimum: 1, maximum: 4, default: 2}
  kind: {choices: [max, average], default: max}
requires:
  - channels % depth == 0
values:
  double: channels * 2
blocks:
  unit:
    - name: "{name}"
      operation: Convolution
      inputs: [previous]
      parameters: {filters: "{filters}", kernel: [3, 1], stride: 2, padding: same}
layers:
  - name: input
    operation: Input
    parameters: {shape: [1, "{channels}", 9, 9]}
  - repeat: depth
    index: i
    layers:
      - {block: unit, with: {name: "unit_{i}", filters: "{double + i}"}}
  - name: pool
    when: kind == 'max'
    operation: GlobalPooling
    inputs: ["unit_{depth - 1}"]
    parameters: {kind: "{kind}"}
"""


def small():
    return parse_description(SMALL, "small.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 * channels", 26),
        ("channels // 3 % 2", 0),
        ("-channels", -8),
        ("min(channels, 4) - max(1, 2)", 2),
        ("1 if channels > 8 or kind == 'max' else 0", 1),
        ("1 < channels <= 8 and not channels == 3", True),
    ],
)
def test_arithmetic_on_settings(text, value):
    assert evaluate(text, {"channels": 8, "kind": "max"}) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "channels.__class__",
        "(lambda: 1)()",
        "[1][0]",
        "2 ** 99",
        "1.5",
        "channels // 0",
        "unknown + 1",
        "'a' + 1",
        "1 < 'a'",
        "1 +",
        "max()",
        "1" * 500,
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(SchemaError):
        evaluate(text, {"channels": 8})


@given(st.text(max_size=40))
def test_no_text_gives_more_than_a_schema_error(text):
    with contextlib.suppress(SchemaError):
        evaluate(text, {"a": 1, "b": "text"})


def test_templates_keep_the_type_when_they_are_one_expression():
    assert fill("{a + 1}", {"a": 1}) == 2
    assert fill("kernel_{a + 1}/{b}", {"a": 1, "b": "relu"}) == "kernel_2/relu"
    assert names("a * min(b, 2) + a") == ("a", "b")


def test_blocks_repeats_and_conditions():
    graph = instantiate(small(), {"channels": 4, "depth": 2})
    assert [layer.name for layer in graph.layers] == ["input", "unit_0", "unit_1", "pool"]
    # SAME with stride 2 on 9: ceil(9 / 2) = 5, then ceil(5 / 2) = 3; filters 2 * 4 + i
    assert graph["unit_0"].output_shape == (1, 8, 5, 5)
    assert graph["unit_1"].output_shape == (1, 9, 3, 3)
    # height: (5 - 1) * 2 + 3 - 9 = 2, one row each side; width: kernel 1 needs none
    assert graph["unit_0"].parameters == op.Convolution(8, (3, 1), (2, 2), padding=(1, 0, 1, 0))
    average = instantiate(small(), {"channels": 4, "kind": "average"})
    assert "pool" not in average


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({}, ["channels", "missing"]),
        ({"channels": 65}, ["channels", "65", "1 to 64"]),
        ({"channels": 4.5}, ["channels", "4.5"]),
        ({"channels": float("nan")}, ["channels"]),
        ({"channels": True}, ["channels"]),
        ({"channels": "8"}, ["channels"]),
        ({"channels": 4, "kind": "min"}, ["kind", "max, average"]),
        ({"channels": 4, "wide": 1}, ["wide", "channels, depth, kind"]),
        ({"channels": 5, "depth": 2}, ["channels=5", "depth=2", "channels % depth == 0"]),
    ],
)
def test_bad_rows_name_the_setting_and_what_is_legal(row, words):
    with pytest.raises(SchemaError) as error:
        instantiate(small(), row)
    assert all(word in str(error.value) for word in ["'small'", *words])


def test_a_whole_float_counts_as_a_number():
    assert instantiate(small(), {"channels": 4.0}) == instantiate(small(), {"channels": 4})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("operation: Convolution", "operation: Convolve", ["unit_", "Convolve", "Convolution"]),
        ("kernel: [3, 1]", "kernels: [3, 1]", ["kernels", "kernel"]),
        ("kernel: [3, 1],", "", ["needs a kernel"]),
        ('["unit_{depth - 1}"]', "[nowhere]", ["nowhere"]),
        ("inputs: [previous]", "inputs: []", ["unit_0", "same"]),
        ("kernel: [3, 1], stride: 2, padding: same", "kernel: three", ["unit_0"]),
        ("kernel: [3, 1], stride: 2, padding: same", "kernel: [[3], x]", ["unit_0"]),
        ("shape: [1,", "shape: [x,", ["input"]),
        ("operation: Input", "operation: Input\n    inputs: [previous]", ["previous"]),
        ("block: unit", "block: unity", ["unity", "unit"]),
        ("repeat: depth", "repeat: 9999", ["9999", "1024"]),
        ("requires:", "demands:", ["demands"]),
        ("{double + i}", "{double +}", ["double +"]),
        ("layers:\n  - name: input", "layers:\n  - nome: input", ["layers"]),
        ("settings:", "settings: [", ["small.yaml"]),
    ],
)
def test_bad_descriptions_give_one_line(old, new, words):
    with pytest.raises(SchemaError) as error:
        instantiate(parse_description(SMALL.replace(old, new), "small.yaml"), {"channels": 4})
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


def test_description_files(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    assert load_description(path) == small()
    with pytest.raises(ArtefactError, match=r"missing\.yaml"):
        load_description(tmp_path / "missing.yaml")
