"""Times of layers come back from end-to-end times alone, on a machine of a known linear rule."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from benchmark.black_box import (
    Rules,
    difference,
    executed_as_assumed,
    read_times,
    standard_error_s,
)
from benchmark.black_box_fusion import merged_with_their_kind, pair_test, verdict
from benchmark.black_box_placement import (
    NOWHERE_ELSE,
    Placing,
    placed,
    placement_rows,
)
from benchmark.black_box_plan import FOLLOWERS, nested_cases
from benchmark.config import MultiLayer, Sampling
from benchmark.make_black_box_tables import command, fill_tables, solve, without_padded
from benchmark.plan import MAPPING_ONLY, TOTAL_ONLY, make_case
from benchmark.sampling import plan_samples
from benchmark.tables import Rows
from graph_gen.benchmarks import build
from hardware_modules.black_box import hide_layers
from hardware_modules.registry import create
from model_gen.black_box import State, Sums, layers_of, refine, share
from simulators.grouping import Group
from strata.context import SIZES
from strata.errors import ArtefactError, FitError
from strata.execution import FEATURES, features, make_executed
from strata.placement import Memory
from strata.profile import CACHED_BYTES, STREAMED_BYTES
from strata.profile_json import profile_to_dict

NODE_S, S_PER_OP, S_PER_BYTE, ONCE_S = 2e-6, 1e-10, 1e-9, 5e-5
RULE = {"node_s": NODE_S, "s_per_op": S_PER_OP, "s_per_byte": S_PER_BYTE}
SAMPLING = Sampling(macs_limit=30_000_000, network_macs_limit=300_000_000, elements_limit=300_000)


def record(case, profile):
    return {"case": case.to_dict(), "tags": case.tags, "profile": profile_to_dict(profile)}


def swish_elements(layer):
    kind = getattr(layer.parameters, "kind", "")
    return np.prod(layer.output_shape) if kind == "swish" else 0


def linear_s(graph, name, operation):
    """What a graph's layers of the operation, named so, take by the linear rule."""
    return sum(
        truth_s(features(make_executed([layer])))
        for layer in graph.layers
        if layer.name.startswith(name) and layer.operation == operation
    )


def measured(cases, noise=0.0, seed=0, host_s=0.0, free="", merged=1.0):
    """Shard records of the linear rule with a constant per run, profiler hidden, noise added.

    Every element of a swish takes `host_s` more, as on a machine that runs it elsewhere. The second
    layers of pairs that are of the operation `free` take nothing, additions in chains of additions
    a part `merged` of their time.
    """
    module, generator = create("null", RULE), np.random.default_rng(seed)
    for case in cases:
        graph = build(case.benchmark, case.settings)
        profile = module.parse(module.profile(module.compile(graph), 1, 0), graph)
        elsewhere_s = host_s * sum(map(swish_elements, graph.layers))
        elsewhere_s -= linear_s(graph, "follower", free)
        elsewhere_s -= (1 - merged) * linear_s(graph, "kernel", "add")
        runs = (profile.time_s + elsewhere_s + ONCE_S) * (1 + noise * generator.standard_normal(20))
        samples = tuple(map(float, runs))
        profile = replace(profile, samples_s=samples, time_s=float(np.median(samples)))
        yield record(case, hide_layers(profile, graph))


def fetching(cases, memory, s_per_fetched_byte):
    """Shard records as `measured` without noise, of a machine that fetches what its memory does
    not keep, at so many seconds per byte stored, and a compiler that tells how many these are."""
    for case, line in zip(cases, measured(cases), strict=True):
        groups = [Group(each, ()) for each in executed(build(case.benchmark, case.settings))]
        layers = placed(groups, Placing(memory=memory))
        rows = placement_rows(layers)
        fetched = np.array([layer.placement == "streamed" for layer in layers])
        stored = memory.stored(rows).total_bytes
        profile = line["profile"]
        profile["time_s"] += s_per_fetched_byte * float(stored[fetched].sum())
        profile["samples_s"] = [profile["time_s"]] * len(profile["samples_s"])
        told = {CACHED_BYTES: stored[~fetched].sum(), STREAMED_BYTES: stored[fetched].sum()}
        profile["toolchain"] |= {key: str(round(value)) for key, value in told.items()}
        yield line


def executed(graph):
    """A graph's layers as the black box groups them."""
    return [layer.executed for layer in executed_as_assumed(graph, Rules()).layers]


def shard(path, cases, **noise):
    path.write_text("".join(json.dumps(line) + "\n" for line in measured(cases, **noise)))
    return path


def chains(kernels=(1, 4), sizes=range(8, 88, 8), extent=14):
    rows = [
        {"height": extent, "width": extent, "channels": size, "filters": size, "kernel": 3}
        for size in sizes
    ]
    return nested_cases([make_case("convolution", row) for row in rows], kernels)


def truth_s(row):
    return NODE_S + S_PER_OP * row["ops"] + S_PER_BYTE * row["bytes"]


def test_a_difference_of_nested_chains_is_the_layers_exact_time(tmp_path):
    readings = read_times([shard(tmp_path / "a.jsonl", chains())], build)
    for graphs in readings.nests.values():
        step = difference(graphs)
        (place,) = step.places  # one layer: the convolution with its activation
        row = dict(zip(FEATURES, step.more.rows[place], strict=True))
        assert step.time_s == pytest.approx(truth_s(row), rel=1e-9)
        assert step.counts == (1.0,)


@pytest.fixture(scope="module")
def drawn():
    """Micro-kernels of all kinds and a few networks, nested."""
    counts = {"convolution": 40, "depthwise_convolution": 15, "max_pooling": 15, "dense": 15}
    counts |= {"add": 15, "concat": 15, "average_pooling": 10}
    return nested_cases(plan_samples(counts, MultiLayer(convnet=25), 3, SAMPLING), (1, 4))


@pytest.fixture(scope="module")
def exact(drawn, tmp_path_factory):
    """Solved without noise."""
    readings = read_times([shard(tmp_path_factory.mktemp("x") / "a.jsonl", drawn)], build)
    return readings, solve(readings, rounds=2)


def test_no_table_says_how_large_a_graph_was(exact):
    """Kernels stand in small graphs, shares in large ones: trees would tell the two apart by it."""
    rows, _ = fill_tables(exact[1].plan, exact[1].refined, (), NOWHERE_ELSE)
    all_rows = [row for found in rows.layers.values() for row in found]
    assert {row["kind"] for row in all_rows} == {"difference", "share"}
    assert {row[size] for row in all_rows for size in SIZES} == {0.0}


def test_what_differences_measured_often_enough_takes_no_shares_where_placement_is_told(exact):
    """A share is no measurement, and errors of other layers' expectations are in it. Yet where
    nobody tells what runs in another way, only networks' totals know of it."""

    def kinds(placing):
        rows, _ = fill_tables(exact[1].plan, exact[1].refined, (), placing)
        layers = rows.layers.items()
        return {name: Counter(row["kind"] for row in found) for name, found in layers}

    told, silent = kinds(Placing(memory=Memory(1e9, 1e9, 1, True))), kinds(NOWHERE_ELSE)
    assert told["convolution"]["difference"] >= 40 > told["concat"]["difference"]
    assert told["convolution"]["share"] == 0 < silent["convolution"]["share"]
    assert told["concat"] == silent["concat"]
    assert told["concat"]["share"] > 0


def test_padding_and_overhead_come_off(exact):
    plan, refined = exact[1].plan, exact[1].refined
    rows, differences = fill_tables(plan, refined, (), NOWHERE_ELSE)
    assert refined.beside[0] == pytest.approx(ONCE_S, rel=0.05)
    # the others are rows whose feeds and tails are known worse than what they surround is long
    assert set(differences["status"]) <= {"kept", "mostly padding"}
    assert (differences["status"] == "kept").mean() > 0.8
    for operation in ("convolution", "dense", "add", "max_pooling", "concat"):
        found = [row for row in rows.layers[operation] if row["kind"] == "difference"]
        ratios = [row["time_s"] / truth_s(row) for row in found]
        assert len(ratios) >= 5
        assert np.median(np.abs(np.array(ratios) - 1)) < 0.03, operation


def test_shares_of_a_network_add_up_to_its_total_less_the_overhead(exact):
    plan, refined = exact[1].plan, exact[1].refined
    for number, one in enumerate(plan.networks, len(plan.differences) + len(plan.smallest)):
        total_s = float(refined.time_s[plan.terms(number)].sum())
        assert total_s == pytest.approx(one.profile.time_s - ONCE_S, rel=0.02)


def test_noise_leaves_estimates_unbiased_and_flags_what_it_drowns(tmp_path):
    cases = chains(sizes=range(2, 98, 2), extent=4)
    readings = read_times([shard(tmp_path / "a.jsonl", cases, noise=0.3)], build)
    solution = solve(readings, rounds=2)
    plan, refined = solution.plan, solution.refined
    ratios = []
    for number, step in enumerate(plan.differences):
        row = dict(zip(FEATURES, step.more.rows[step.places[0]], strict=True))
        ratios.append(refined.time_s[plan.terms(number)][0] / truth_s(row))
    assert np.mean(ratios) == pytest.approx(1, abs=0.08)
    _, differences = fill_tables(plan, refined, (), NOWHERE_ELSE)
    # 30% of a run of 50 us and more, 20 runs: layers of a few us are lost in it
    assert set(differences["status"]) >= {"kept", "insignificant"}
    kept = differences["status"] == "kept"
    assert differences.loc[kept, "raw_s"].min() > 0
    ratio = differences["sigma_s"] / differences["raw_s"].abs()
    assert ratio[kept].max() < 0.5 < ratio[~kept].min() + 0.05


def test_a_negative_difference_is_told_and_gives_no_row(tmp_path):
    records = list(measured(chains(sizes=range(8, 104, 8))))
    worst = next(each for each in records if each["case"]["settings"]["kernels"] == 4)
    worst["profile"]["time_s"] = 1e-5
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in records))
    solution = solve(read_times([path], build), rounds=1)
    plan, refined = solution.plan, solution.refined
    rows, differences = fill_tables(plan, refined, (), NOWHERE_ELSE)
    line = differences.set_index("case_id").loc[worst["case"]["case_id"]]
    assert (line["status"], line["raw_s"] < 0) == ("negative", True)
    cases = {row["case_id"] for found in rows.layers.values() for row in found}
    assert worst["case"]["case_id"] not in cases
    assert all(row["time_s"] > 0 for found in rows.layers.values() for row in found)


def test_a_row_of_one_size_gives_what_is_left_of_its_graph(tmp_path):
    alone = chains(kernels=(2,), sizes=(20, 28, 36))
    readings = read_times([shard(tmp_path / "a.jsonl", [*chains(), *alone])], build)
    solution = solve(readings, rounds=2)
    plan, refined = solution.plan, solution.refined
    rows, _ = fill_tables(plan, refined, (), NOWHERE_ELSE)
    left = [row for row in rows.layers["convolution"] if row["kind"] == "remainder"]
    assert len(left) == 3
    for row in left:
        assert row["time_s"] == pytest.approx(truth_s(row), rel=0.03)


def pairs_of(beta, noise, count=16):
    """Synthetic chains: what pairs take beyond their first layer, and their second layer alone."""
    generator = np.random.default_rng(2)
    alone = generator.uniform(0.05, 0.6, count)
    return np.column_stack([beta * alone + noise * generator.standard_normal(count), alone])


@pytest.mark.parametrize(
    ("beta", "noise", "wanted"),
    [
        (0.0, 0.02, "FUSED"),
        (1.0, 0.02, "NOT_FUSED"),
        (0.0, 0.9, "POSSIBLY_FUSED"),  # lost in noise
        (0.5, 0.02, "POSSIBLY_FUSED"),
    ],
)
def test_whether_a_follower_runs_with_its_producer(beta, noise, wanted):
    found = pair_test("convolution->add", pairs_of(beta, noise))
    assert found.verdict == wanted
    assert found.low <= found.beta <= found.high
    if noise < 0.1:
        assert found.beta == pytest.approx(beta, abs=0.05)


def test_a_few_chains_decide_nothing():
    assert pair_test("convolution->add", pairs_of(0, 0, count=7)).verdict == "POSSIBLY_FUSED"
    assert pair_test("convolution->add", pairs_of(0, 0, count=8)).verdict == "FUSED"
    assert pair_test("convolution->add", np.zeros((0, 2))).chains == 0


def paired_cases():
    """Nested graphs of as many samples as give chains of pairs."""
    generator = np.random.default_rng(5)
    samples = [
        make_case(
            "convolution",
            {"height": extent, "width": extent, "channels": 16, "filters": size, "kernel": 1},
        )
        for extent, size in generator.integers(8, 32, (80, 2)).tolist()
    ]
    return nested_cases(samples, (1, 4))


@pytest.mark.parametrize("free", ["", "max_pooling"])
def test_pairs_tell_what_runs_together_and_graphs_are_grouped_so(tmp_path, free):
    path = shard(tmp_path / "a.jsonl", paired_cases(), free=free)
    readings = read_times([path], build)
    solution = solve(readings, rounds=2)
    verdicts = {test.pair: test.verdict for test in solution.tests}
    assert len(verdicts) == 8
    joined = {pair for pair, verdict in verdicts.items() if verdict == "FUSED"}
    behind = ("convolution", "depthwise_convolution")
    assert joined == {f"{producer}->{free}" for producer in behind if free}
    assert verdicts["convolution->average_pooling"] == "NOT_FUSED"
    rows, _ = fill_tables(solution.plan, solution.refined, solution.undecided, solution.placing)
    edges = pd.DataFrame(rows.mapping)
    edges = edges[(edges["benchmark"] == "pair") & (edges["consumer_operation"] == "max_pooling")]
    assert set(edges["flag"]) == {"FUSED" if free else "NOT_FUSED"}


def test_chains_that_run_merged_are_not_read_and_pairs_tell_what_a_layer_costs(tmp_path):
    cases = paired_cases()
    solution = solve(read_times([shard(tmp_path / "a.jsonl", cases, merged=0.05)], build), 2)
    assert merged_with_their_kind(solution.tests) == {"add"}
    rows, _ = fill_tables(solution.plan, solution.refined, solution.undecided, solution.placing)
    found = pd.DataFrame(rows.layers["add"])
    assert set(found["benchmark"]) == {"pair"}
    ratio = found["time_s"] / found.apply(truth_s, axis=1)
    assert np.median(np.abs(ratio - 1)) < 0.1
    plain = solve(read_times([shard(tmp_path / "b.jsonl", cases)], build), 2)
    assert merged_with_their_kind(plain.tests) == frozenset()


def test_a_group_takes_one_follower():
    row = {"height": 16, "width": 16, "channels": 8, "filters": 8}
    graph = build("convnet", row)
    both = {f"convolution->{name}" for name in ("add", "max_pooling")}
    found = executed_as_assumed(graph, Rules(frozenset(both)))
    followers = [
        [each.operation for each in layer.executed.absorbed if each.operation in FOLLOWERS]
        for layer in found.layers
    ]
    # an addition that a pooling follows is fused, the pooling is not
    assert sorted(each for group in followers for each in group) == ["add"] * 3 + ["max_pooling"]
    assert max(map(len, followers)) == 1


def test_a_verdict_needs_its_whole_interval_on_one_side():
    assert verdict(-0.1, 0.3) == "FUSED"
    assert verdict(0.6, 1.4) == "NOT_FUSED"
    assert verdict(0.3, 0.8) == "POSSIBLY_FUSED"
    assert verdict(-0.9, 0.1) == "POSSIBLY_FUSED"  # nothing saves more than its own time


def test_the_standard_error_of_the_median_is_that_of_many_repetitions():
    generator = np.random.default_rng(0)
    samples = generator.normal(1.0, 0.1, (400, 60))
    told = np.median([standard_error_s(row) for row in samples])
    assert told == pytest.approx(np.std(np.median(samples, axis=1)), rel=0.25)
    assert standard_error_s([1.0, 1.0]) == 0.0


def test_graphs_of_one_size_only_are_refused_in_one_line(tmp_path, capsys):
    path = shard(tmp_path / "a.jsonl", chains(kernels=(2,)))
    with pytest.raises(SystemExit) as stopped:
        command([path], tmp_path / "tables")
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert "same kernels in graphs of several sizes" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "line 1: not a JSON record"), ("{}\n", "line 1: no record of a measured case")],
)
def test_lines_that_are_no_records_are_named(tmp_path, text, told):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ArtefactError, match=told):
        read_times([path], build)


@pytest.mark.parametrize("purpose", [MAPPING_ONLY, TOTAL_ONLY])
def test_graphs_for_a_purpose_of_their_own_are_not_read(tmp_path, purpose):
    apart = make_case("cells", {"seed": 3, "megamacs": 20.0}, {"purpose": purpose})
    readings = read_times([shard(tmp_path / "a.jsonl", [*chains(), apart])], build)
    assert len(readings.graphs) == len(chains())
    assert not readings.refused


def test_a_refused_graph_and_one_without_time_are_kept_with_their_reasons(tmp_path):
    records = list(measured(chains()))
    records[0]["profile"]["refusal"] = "out of memory"
    records[3]["profile"]["time_s"] = 0.0
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in records))
    readings = read_times([path], build)
    assert [reason for _, reason in readings.refused] == [
        "out of memory",
        "the end-to-end time is 0.0; legal: above 0 s",
    ]
    assert len(readings.graphs) == len(records) - 2


def test_sums_that_are_no_numbers_are_refused():
    one = np.ones(1)
    bad = (np.array([np.nan]), one, one, np.ones((1, 3)), np.zeros(1, dtype=int))
    name = np.array(["add"])
    with pytest.raises(FitError, match="time_s is not a finite number"):
        Sums(*bad, one, name, np.ones((1, len(FEATURES))), name)


def test_what_a_difference_tells_of_a_kernel_leaves_the_padding_of_its_graph():
    kernel_s, padding_s = 3e-4, 7e-5
    names = np.array(["convolution", "convolution", "global_average_pooling"])
    sums = Sums(
        np.array([kernel_s, ONCE_S + kernel_s + padding_s]),
        np.zeros(2),
        np.ones(2),
        np.array([[0.0, 0, 0], [1, 0, 0]]),
        np.array([0, 1, 1]),
        np.ones(3),
        names,
        np.ones((3, len(FEATURES))),
        names,  # both convolutions are one layer
    )
    expected_s = np.array([1e-4, 1e-4])
    state = State(expected_s, 0.5 * expected_s, np.array([ONCE_S, 0, 0]), 0.0)
    time_s, told = share(sums, layers_of(sums), state)
    assert time_s == pytest.approx([kernel_s, padding_s], rel=1e-6)
    assert told == pytest.approx([1, 1])


def test_mirrored_convolutions_are_both_in_the_table(tmp_path):
    rows = [
        {"height": 14, "width": 14, "channels": size, "filters": 2 * size, "kernel": 3}
        for size in range(8, 56, 8)
    ]
    cases = nested_cases([make_case("convolution", row) for row in rows], (1, 4))
    readings = read_times([shard(tmp_path / "a.jsonl", [*chains(), *cases])], build)
    solution = solve(readings, rounds=2)
    rows, _ = fill_tables(solution.plan, solution.refined, (), NOWHERE_ELSE)
    found = pd.DataFrame(rows.layers["convolution"])
    mirrored = found[found["channels"] != found["filters"]]
    assert sorted(set(mirrored["layer"])) == ["back_3", "kernel_3"]
    assert len(mirrored) == 12
    truth = [truth_s(row) for row in mirrored.to_dict("records")]
    assert mirrored["time_s"].to_numpy() == pytest.approx(truth, rel=0.05)


@pytest.mark.parametrize("host_s", [0.0, 1e-7])
def test_an_activation_that_runs_elsewhere_is_a_layer_of_its_own(tmp_path, host_s):
    generator = np.random.default_rng(4)
    rows = [
        {"height": extent, "width": extent, "channels": size, "filters": size, "kernel": 3}
        | {"activation": "relu" if place % 9 else "swish"}
        for place, (extent, size) in enumerate(generator.integers(6, 40, (150, 2)).tolist())
    ]
    cases = nested_cases([make_case("convolution", row) for row in rows], (1, 4))
    # kinds that cost nothing would be taken apart together with the one that does
    cases = [case for case in cases if case.settings.get("activation") in ("relu", "swish")]
    path = shard(tmp_path / "a.jsonl", cases, host_s=host_s)
    solution = solve(read_times([path], build), rounds=2)
    tests = {test.kind: test for test in solution.kinds}
    assert "relu" not in tests
    assert tests["swish"].apart == (host_s > 0)
    rows, _ = fill_tables(solution.plan, solution.refined, (), NOWHERE_ELSE)
    found = pd.DataFrame(rows.layers.get("activation", []))
    assert found.empty == (host_s == 0)
    if host_s:
        truth_s = host_s * found["output_elements"]
        assert np.median(np.abs(found["time_s"] / truth_s - 1)) < 0.1


def test_weights_that_a_memory_does_not_keep_are_told_by_totals_and_bytes(tmp_path):
    """Chains of which the longer ones outgrow a memory: what stays and what is fetched come back
    as layers of their own, each with its own time."""
    memory, s_per_fetched_byte = Memory(2e6, 1e9, 16, largest_first=True), 3e-9
    cases = chains(sizes=range(64, 448, 6), extent=7)
    lines = map(json.dumps, fetching(cases, memory, s_per_fetched_byte))
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    solution = solve(read_times([path], build), rounds=2)
    found = solution.placing.memory
    assert found.capacity_bytes == pytest.approx(2e6, rel=0.1)
    assert (found.padding, found.largest_first) == (16, True)
    rows, _ = fill_tables(solution.plan, solution.refined, (), NOWHERE_ELSE)
    assert set(rows.layers) >= {"convolution", "convolution@streamed"}
    for key, more_s in (("convolution", 0.0), ("convolution@streamed", s_per_fetched_byte)):
        table = pd.DataFrame(rows.layers[key])
        padded = np.ceil(table["filters"] / 16) * 16 / table["filters"]
        fetched_s = more_s * 4 * table["weight_elements"] * padded  # of 32 bits
        ratio = table["time_s"] / (truth_s(table) + fetched_s)
        assert np.median(np.abs(ratio - 1)) < 0.03, key
    placements = pd.DataFrame(rows.placements)
    assert set(placements["placement"]) == {"", "streamed"}


def test_a_total_that_holds_something_else_hardly_moves_the_others():
    generator = np.random.default_rng(0)
    networks, layers = 120, 5
    terms = networks * layers
    rows = np.ones((terms, len(FEATURES)))
    rows[:, FEATURES.index("ops")] = ops = generator.uniform(1e5, 1e7, terms)
    of, alone_s = np.repeat(np.arange(networks), layers), S_PER_OP * ops
    # every fifth holds what takes ten times as long as all its layers
    time_s = np.bincount(of, alone_s) * np.where(np.arange(networks) % 5, 1.0, 10.0)
    ones, names = np.ones(networks), np.full(terms, "convolution")
    beside = np.outer(ones, [1.0, 0, 0])
    each = np.arange(terms).astype(str)
    sums = Sums(time_s, 0 * ones, time_s, beside, of, np.ones(terms), names, rows, each)
    ratio = refine(sums).expected_s / alone_s
    assert np.median(ratio) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("others", [39, 40])
def test_rows_that_are_mostly_padding_are_kept_only_where_they_are_needed(others):
    def row(padding_s):
        line = {"table": "add", "status": "kept", "padding_s": padding_s, "raw_s": 1.0}
        return Rows({"add": [{"layer": "kernel_0"}]}), line

    found = [row(0.6), *(row(0.4) for _ in range(others))]
    without_padded(found)
    dropped = [line["status"] == "mostly padding" for _, line in found]
    assert dropped == [others == 40, *[False] * others]
    assert bool(found[0][0].layers) == (others < 40)
