"""Times and names out of synthetic reports, worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmark.matcher import match
from hardware_modules.openvino_report import (
    median_wall_ns,
    node_times_us,
    parse_report,
    span_mean_us,
    timed_spans,
)
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError


def runs(*pattern):
    return [{"wall_ns": wall, "warmup": warm, "inferences": 1} for wall, warm in pattern]


def node(name, kind, names=(), producers=(), shape=(1, 8, 4, 4), primitive="jit_f32"):
    return {
        "name": name,
        "layer_type": kind,
        "primitive": primitive,
        "original_names": list(names),
        "output_shape": list(shape),
        "producers": list(producers),
        "status": "EXECUTED",
    }


def report_of(nodes, counters, history):
    return {
        "graph": "g",
        "runs": history,
        "counters_us": counters,
        "nodes": nodes,
        "toolchain": {"name": "openvino"},
        "host": {"fingerprint": "x"},
    }


def mean_us(counters, first, inferences=None):
    """The mean of all samples from the first on."""
    inferences = inferences or [1] * len(counters)
    return span_mean_us(counters, inferences, [(first, len(counters))])[0]


def test_counters_are_cumulative_means_and_the_warmup_is_taken_out():
    # runs of 100, 50 | 10, 10 us: means 100, 75, 53, 42 (42.5). The timed runs took 10 us each;
    # (4 x 42.5 - 2 x 75.5) / 2 = 9.5. The last counter alone would say 42.
    assert mean_us([100, 75, 53, 42], 2) == pytest.approx(9.5)


def test_without_warmup_the_window_is_the_last_mean_plus_the_floors_half():
    assert mean_us([12, 10, 9], 0) == pytest.approx(9.5)


def test_a_fast_node_after_a_slow_first_run_keeps_a_positive_time():
    # runs 1 to 4 took 3 us in all (sum in [0, 4)); run 1 took 3 to 4 us: the last three took
    # between 0 and 1 us together, so 0.5 / 3 each.
    assert mean_us([3, 1, 1, 0], 1) == pytest.approx(0.5 / 3)


def test_counters_that_contradict_each_other_are_refused():
    with pytest.raises(MatchError, match="100 to 1 us"):
        mean_us([100, 1], 1)


def test_warmups_between_spans_are_taken_out():
    # runs of 900, 100, 100 | 700 | 100 us: means 900, 500, 366 (366.7), 450, 380
    counters = [900, 500, 366, 450, 380]
    # 3 x 366.5 - 900.5 = 199 and 5 x 380.5 - 4 x 450.5 = 100.5, over three inferences
    mean, rounding = span_mean_us(counters, [1] * 5, [(1, 3), (4, 5)])
    assert mean == pytest.approx((199 + 100.5) / 3)
    # the sums are known within 3 + 1 and 5 + 4 us
    assert rounding == pytest.approx(((4**2 + 9**2) / 12) ** 0.5 / 3)


@given(st.lists(st.integers(0, 10_000), min_size=2, max_size=40), st.integers(0, 39))
def test_the_window_mean_is_within_the_floors_of_the_truth(times_us, first):
    first = min(first, len(times_us) - 1)
    counters = [sum(times_us[:k]) // k for k in range(1, len(times_us) + 1)]
    window = len(times_us) - first
    truth = sum(times_us[first:]) / window
    # each floor hides less than 1 us of a mean over N or over `first` runs
    bound = (len(times_us) + first) / 2 / window + 0.5
    mean = mean_us(counters, first)
    assert abs(mean - truth) <= bound
    assert mean > 0


def test_samples_of_several_inferences_weigh_as_many():
    # one warm-up of 100 us, then samples of 4 and 5 inferences of 10 us each:
    # means over 1, 5 and 10 inferences: 100, 28, 19; (10 x 19.5 - 1 x 100.5) / 9 = 10.5
    assert mean_us([100, 28, 19], 1, [1, 4, 5]) == pytest.approx(10.5)
    history = [
        {"wall_ns": 900, "warmup": True, "inferences": 1},
        {"wall_ns": 100, "warmup": False, "inferences": 1},
        {"wall_ns": 200, "warmup": False, "inferences": 3},
    ]
    # median of 100, 200: 150; mean of 100 and three times 200: 175. The node took all of it
    counters = [900, 500, 320]
    (time_us,) = node_times_us(history, [counters])
    assert time_us == pytest.approx((5 * 320.5 - 900.5) / 4 * 150 / 175)


def test_the_network_time_is_the_median_not_the_mean():
    history = runs((900, True), (100, False), (100, False), (110, False), (490, False))
    assert median_wall_ns(history) == 105
    # a node that was there all the time has that time too: timed mean 200
    counters = [sum((900, 100, 100, 110, 490)[:k]) // k for k in range(1, 6)]
    (time_us,) = node_times_us(history, [counters])
    assert time_us == pytest.approx(105, rel=0.01)


def test_warmups_in_between_do_not_count():
    """A node that is slow when cold and one that is not, in a round-robin."""
    history = runs((900_000, True), (100_000, False), (300_000, True), (100_000, False))
    cold, steady = (800, 20, 220, 20), (100, 80, 80, 80)
    counters = [[sum(times[:k]) // k for k in range(1, 5)] for times in (cold, steady)]
    found = node_times_us(history, counters)
    # the steady one is as it is; the other is too short for whole microseconds of 4 runs: its
    # mean over both kinds of runs after the first, brought to the median run
    assert found[1] == pytest.approx(80, abs=2)
    assert found[0] == pytest.approx((260 / 3) * (100 / (500 / 3)), abs=2)
    many = runs(
        (900_000, True), *[(100_000, False)] * 30, (300_000, True), *[(100_000, False)] * 30
    )
    times = (800, *[40] * 30, 240, *[40] * 30)
    counters = [sum(times[:k]) // k for k in range(1, len(times) + 1)]
    assert node_times_us(many, [counters])[0] == pytest.approx(40, abs=1)


def test_a_report_without_timed_runs_is_refused():
    with pytest.raises(MatchError, match="no timed run"):
        timed_spans(runs((900, True)))


def block():
    builder = GraphBuilder("g")
    source = builder.input(1, 8, 4, 4, name="in")
    builder.convolution(source, 8, 3, normalise=True, activation="relu", name="c")
    flat = builder.add(op.Flatten(), "c/relu", name="flat")
    builder.dense(flat, 4, name="d")
    return builder.build()


def profile_of(nodes, counters):
    return parse_report(report_of(nodes, counters, runs((1000, True), (500, False))), block())


NODES = [
    node("in", "Input", ["in"], primitive="unknown_f32"),
    node("in_reorder", "Reorder", ["c"], ["in"], primitive="reorder_f32"),
    node("Multiply_7", "Convolution", ["Multiply_7", "c/normalise", "c/relu"], ["in_reorder"]),
    node("view", "Reorder", [], ["Multiply_7"], primitive="reorder_f32"),
    node("flat", "Reshape", ["flat"], ["view"], primitive="unknown_f32"),
    node("d//bias", "FullyConnected", ["d", "d//bias"], ["flat"]),
    node("d//result", "Output", ["d//result"], ["d//bias"], primitive="unknown_f32"),
]
COUNTERS = [[0, 0], [5, 3], [50, 45], [0, 0], [0, 0], [1, 0], [0, 0]]


def test_only_executed_nodes_stay_and_producers_look_through_the_others():
    profile = profile_of(NODES, COUNTERS)
    assert [(n.name, n.producers) for n in profile.nodes] == [
        ("in_reorder", ("input:in",)),
        ("Multiply_7", ("in_reorder",)),
        ("d//bias", ("Multiply_7",)),
    ]


def test_a_node_below_one_microsecond_is_kept_with_a_time():
    profile = profile_of(NODES, COUNTERS)
    # counters 1, 0: run 1 took [1, 2) us, both together [0, 2): run 2 took (-2, 1) -> [0, 1)
    assert profile.nodes[-1].time_s == pytest.approx(0.5e-6)


def test_node_time_is_the_window_mean_in_the_proportion_of_the_wall_times():
    profile = parse_report(
        report_of(
            NODES,
            [[4] * 5, [4] * 5, [40] * 5, [0] * 5, [0] * 5, [9] * 5, [0] * 5],
            runs((100, False), (100, False), (100, False), (110, False), (490, False)),
        ),
        block(),
    )
    # mean 40.5 us over the runs; median / mean of the wall times is 100 / 180
    assert profile.nodes[1].time_s == pytest.approx(40.5e-6 * 100 / 180)
    assert profile.nodes[1].readings_s == pytest.approx((40e-6,) * 5)
    assert profile.time_s == pytest.approx(100e-9)


def test_an_inserted_reorder_holds_no_layer_whatever_name_it_inherits():
    reorder = profile_of(NODES, COUNTERS).nodes[0]
    assert (reorder.kind, reorder.layers) == ("Reorder", ())


def test_a_convolution_renamed_by_folded_normalisation_gets_its_name_back():
    assert profile_of(NODES, COUNTERS).nodes[1].layers == ("c", "c/normalise", "c/relu")


def test_a_convolution_without_any_name_is_found_from_its_reader():
    nodes = [
        NODES[0],
        node("Multiply_7", "Convolution", ["Multiply_7"], ["in"]),
        node("MaxPool_9", "Pooling", ["MaxPool_9"], ["Multiply_7"]),
        node("c/normalise", "Eltwise", ["c/normalise", "c/relu"], ["MaxPool_9"]),
        node("flat", "Reshape", ["flat"], ["c/normalise"], primitive="unknown_f32"),
        *NODES[5:],
    ]
    profile = profile_of(nodes, [[0, 0], [9, 9], [2, 2], [3, 3], [0, 0], [4, 4], [0, 0]])
    assert [n.layers for n in profile.nodes] == [
        ("c",),
        (),
        ("c/normalise", "c/relu"),
        ("d",),
    ]


def test_a_part_left_alone_does_not_hold_its_layer_twice():
    nodes = [
        NODES[0],
        node("c", "Convolution", ["c"], ["in"]),
        node("c//bias", "Eltwise", ["c//bias", "c/normalise", "c/relu"], ["c"]),
    ]
    profile = profile_of(nodes, [[0, 0], [9, 9], [2, 2]])
    assert [n.layers for n in profile.nodes] == [("c",), ("c/normalise", "c/relu")]


def test_a_shuffle_of_channels_is_a_transpose_whatever_name_it_keeps():
    builder = GraphBuilder("shuffled")
    source = builder.convolution(builder.input(1, 8, 4, 4, name="in"), 8, 1, name="c")
    turned = builder.add(op.Transpose((0, 1, 3, 2)), source, name="turned")  # nobody's
    split = builder.add(op.Reshape((1, 2, 4, 4, 4)), turned, name="split")
    swapped = builder.add(op.Transpose((0, 2, 1, 3, 4)), split, name="swap")
    builder.add(op.Reshape((1, 8, 4, 4)), swapped, name="joined")
    nodes = [
        NODES[0],
        node("c", "Convolution", ["c"], ["in"]),
        node("joined", "ShuffleChannels", ["joined"], ["c"]),
    ]
    graph = builder.build()
    report = report_of(nodes, [[0, 0], [9, 9], [4, 4]], runs((1000, True), (500, False)))
    profile = parse_report(report, graph)
    assert [each.layers for each in profile.nodes] == [("c",), ("split", "swap", "joined")]
    assert [each.executed.operation for each in match(graph, profile).layers] == [
        "convolution",
        "transpose",
    ]
