"""The harness of published measurements, on a made-up machine of two constants."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from evaluation.published.calibration import (
    Constants,
    calibrate,
    enough_cases,
    fold_numbers,
    predict,
    predict_unseen,
)
from evaluation.published.cases import make_cases, match_nodes
from evaluation.published.data_set import Aim, DataSet, Measurement, read_measurements, read_rows
from evaluation.published.dpu import DATA_SETS as DPU_SETS
from evaluation.published.dpu import (
    DPU_NODES,
    DPU_TUTORIALS,
    DPU_ULTRA96,
    DPU_ZOO,
    node_seconds,
    stated_hardware,
)
from evaluation.published.platforms import Bench, find_platform
from evaluation.published.registry import DATA_SETS, SHIPPED
from evaluation.published.results import check_constants, evaluate_data_set
from evaluation.published.tables import write_result, write_summary
from simulators.executable import Executable, ExecutableLayer
from simulators.hardware import Hardware, Source
from strata.builder import GraphBuilder
from strata.errors import SchemaError, UnsupportedLayer
from strata.execution import make_executed
from strata.graph import Graph


class Machine(Hardware):
    """Multiply-accumulates per second, seconds per inference; a clock that scales both."""

    macs_per_s: float
    run_s: float
    clock_hz: float


def load(name: str = "fake") -> Machine:
    machine = Machine(schema_version=1, name=name, macs_per_s=1e9, run_s=1e-3, clock_hz=1e8)
    kinds = {"macs_per_s": "assumed", "run_s": "assumed", "clock_hz": "declared"}
    machine._sources = {field: Source(kind, "made up") for field, kind in kinds.items()}
    return machine


def unsupported(graph: Graph, machine: Machine) -> str | None:
    return "layer 'wide': too wide" if "wide" in graph else None


def compile_graph(graph: Graph, machine: Machine) -> Executable:
    layers = tuple(
        ExecutableLayer(engine="array", executed=make_executed([layer]), producers=layer.inputs)
        for layer in graph.layers
        if layer.inputs
    )
    return Executable(graph.name, layers)


def times(executable: Executable, machine: Machine, scale: float = 1.0) -> list[SimpleNamespace]:
    rate = machine.macs_per_s * machine.clock_hz / 1e8
    return [
        SimpleNamespace(time_s=scale * layer.executed.work.macs / rate)
        for layer in executable.layers
    ]


def network_s(layers_s, executable: Executable, machine: Machine) -> float:
    return sum(layers_s) + machine.run_s


FAKE = SimpleNamespace(
    load=load,
    unsupported=unsupported,
    compile_graph=compile_graph,
    analyse=times,
    simulate=partial(times, scale=1.01),
    network_s=network_s,
)


def chain(*filters: int, names: tuple[str, ...] = ()) -> Graph:
    builder = GraphBuilder("chain" + "_".join(map(str, filters)))
    source = builder.input(1, 8, 16, 16)
    for number, width in enumerate(filters):
        name = names[number] if names else f"conv{number + 1}"
        source = builder.convolution(source, width, 3, name=name)
    return builder.build()


def measurement(filters: tuple[int, ...], published_s: float, **changes) -> Measurement:
    plain = Measurement(
        network=f"chain {filters}",
        group=f"chain {filters}",
        set_up="board",
        published_s=published_s,
        source="made up",
        graph_key=str(filters),
        build=partial(chain, *filters),
    )
    return replace(plain, **changes)


def truth(filters: tuple[int, ...], macs_per_s: float, run_s: float) -> float:
    return chain(*filters).work.macs / macs_per_s + run_s


NETWORKS = [(16,), (64,), (64, 64), (128, 128), (256, 256, 128), (8, 8)]


def bench() -> Bench:
    return Bench(FAKE, load())


# ---- files


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_extra_columns_and_other_orders_are_read(tmp_path):
    path = write(tmp_path / "a.csv", "extra,time_ms,name", "x,2.5,one", "", "y,3,two")
    rows = read_rows(path, ("name", "time_ms"))
    assert [(row.text("name"), row.positive("time_ms"), row.line) for row in rows] == [
        ("one", 2.5, 2),
        ("two", 3.0, 4),
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["name"], "no column 'time_ms'; needed: name, time_ms"),
        ([], "no column 'name'"),
        (["name,time_ms", "one"], "line 2: 1 cells, but the header has 2 columns"),
        (["name,time_ms", 'one,"2'], "line 2: unexpected end of data"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path, lines, message):
    path = write(tmp_path / "a.csv", *lines) if lines else tmp_path / "a.csv"
    if not lines:
        path.write_text("")
    with pytest.raises(SchemaError, match=message) as error:
        read_rows(path, ("name", "time_ms"))
    assert str(path) in str(error.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"name\n\xff\xfe")
    with pytest.raises(SchemaError, match="not UTF-8"):
        read_rows(path, ("name",))


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("-3", "-3 must be above 0"),
        ("0", "0 must be above 0"),
        ("fast", "'fast' is not a number"),
        ("nan", "'nan' is not a finite number"),
        ("", "is empty"),
    ],
)
def test_a_bad_cell_is_named_with_file_line_and_column(tmp_path, cell, message):
    path = write(tmp_path / "a.csv", "name,time_ms", "good,1", f"bad,{cell}")
    row = read_rows(path, ("name", "time_ms"))[1]
    with pytest.raises(SchemaError) as error:
        row.positive("time_ms")
    assert str(error.value) == f"{path}, line 3, column 'time_ms': {message}"


@pytest.mark.parametrize(("cell", "bad"), [("3 x 4", "x"), ("3 -4", "-4"), ("3 0", "0")])
def test_lists_of_widths_are_whole_numbers(tmp_path, cell, bad):
    path = write(tmp_path / "a.csv", "widths", cell)
    with pytest.raises(SchemaError, match=f"'{bad}' is not a whole number above 0"):
        read_rows(path, ("widths",))[0].integers("widths")


NODE_HEADER = "network,setup,node,workload_MOP,runtime_ms,perf_GOPS"


@pytest.mark.parametrize(
    ("cells", "expected_ms"),
    [
        ("173.408,0.753,230", 0.753),  # printed with as many digits
        ("1.77,0.02,110.6", 1.77 / 110.6),  # operations over their rate say more
        ("0.0,0.029,0.0", 0.029),  # no operations
        ("0.01,0.0,3.4", 0.0),  # too short to be told
        (",0.75,", 0.75),  # nothing but the time
    ],
)
def test_node_times_use_the_digits_there_are(tmp_path, cells, expected_ms):
    path = write(tmp_path / "a.csv", NODE_HEADER, f"net,281MHz,conv,{cells}")
    row = read_rows(path, DPU_NODES.columns)[0]
    assert node_seconds(row) == pytest.approx(expected_ms * 1e-3, rel=1e-9)


def test_negative_node_times_are_refused(tmp_path):
    write(tmp_path / "dpu_layers.csv", NODE_HEADER, "net,281MHz,conv,1,-2,3")
    with pytest.raises(SchemaError, match="line 2, column 'runtime_ms': -2 must not be negative"):
        read_measurements(DPU_NODES, tmp_path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 * B4096  @ 287MHz   V1.4.0", (287e6, 8, 16, 16, 4)),
        ("ZCU102 3xB4096 (peak 1331 GOPS => 325MHz), per node", (325e6, 8, 16, 16, 4)),
        ("1 * B1152 @ 200.5 MHz", (200.5e6, 4, 12, 12, 2)),
        ("a board", (None, None, None, None, None)),
    ],
)
def test_a_set_up_states_clock_and_array(text, expected):
    names = ("clock_hz", "pixel_parallel", "channel_parallel", "filter_parallel")
    found = stated_hardware(text)
    assert tuple(found.get(name) for name in (*names, "alu_pixel_parallel")) == expected


# ---- shipped data


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=lambda one: one.name)
def test_shipped_files_are_read_and_cited(data_set):
    found = read_measurements(data_set, SHIPPED)
    assert found
    assert all(row.source and row.network and row.published_s >= 0 for row in found)


@pytest.mark.parametrize("data_set", DATA_SETS.values(), ids=lambda one: one.name)
def test_data_sets_calibrate_only_what_their_description_assumes(data_set):
    platform = find_platform(data_set.platform)
    check_constants(data_set, Bench(platform, platform.load(data_set.hardware)))


def test_constants_that_are_not_assumed_are_refused():
    one = replace(DPU_ZOO, constants=("clock_hz",))
    with pytest.raises(SchemaError, match="data set 'dpu_zoo' calibrates 'clock_hz', which 'fake'"):
        check_constants(one, bench())


def test_clock_and_set_up_come_from_the_row():
    zoo = read_measurements(DPU_ZOO, SHIPPED)
    assert {row.hardware["clock_hz"] for row in zoo} == {281e6, 287e6, 300e6, 305e6}
    assert len({row.set_up for row in zoo}) == 6


def test_only_single_threads_count():
    assert {row.published_s for row in read_measurements(DPU_TUTORIALS, SHIPPED)}
    assert len(read_measurements(DPU_TUTORIALS, SHIPPED)) < len(
        read_rows(SHIPPED / DPU_TUTORIALS.file, DPU_TUTORIALS.columns)
    )


def test_tutorial_variants_share_a_group():
    groups = {row.network: row.group for row in read_measurements(DPU_TUTORIALS, SHIPPED)}
    assert groups["miniVggNet_cifar10"] == groups["miniVggNet_fmnist"]
    assert groups["fcn8"] == groups["fcn8ups"]
    assert groups["alexnetBNnoLRN_baseline"] == groups["alexnetBNnoLRN_pruned"]


def test_aims_are_those_asked_for():
    aims = {one.name: one.aim for one in DPU_SETS}
    assert aims["dpu_nodes"] == Aim(10.0)
    assert aims["dpu_zoo"] == Aim(10.0, 0.98)
    assert aims["dpu_ultra96"] == Aim(8.0, 0.99)
    assert DPU_ULTRA96.folds == 5
    assert DPU_ZOO.folds is None


# ---- folds


@given(
    groups=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
    folds=st.one_of(st.none(), st.integers(1, 9)),
    seed=st.integers(0, 5),
)
def test_a_group_is_never_split_over_folds(groups, folds, seed):
    numbers = fold_numbers(groups, folds, seed)
    for group in set(groups):
        assert len({n for n, one in zip(numbers, groups, strict=True) if one == group}) == 1
    wanted = len(set(groups)) if folds is None else min(folds, len(set(groups)))
    assert len(set(numbers.tolist())) == wanted
    assert (fold_numbers(groups, folds, seed) == numbers).all()


# ---- calibration


def test_true_constants_are_recovered_far_from_the_description():
    rows = [measurement(one, truth(one, 7e9, 2.5e-3)) for one in NETWORKS]
    cases, refusals = make_cases(bench(), rows)
    found = calibrate(bench(), cases, ("macs_per_s", "run_s"))
    assert not refusals
    # what draws constants towards the description costs little
    assert found.common["macs_per_s"] == pytest.approx(7e9, rel=0.05)
    assert found.common["run_s"] == pytest.approx(2.5e-3, rel=0.02)


def test_set_ups_get_their_own_constants_and_new_ones_the_mean():
    rows = [
        measurement(one, truth(one, 3e9, run_s), set_up=set_up)
        for one in NETWORKS
        for set_up, run_s in (("quick", 1e-3), ("slow", 4e-3))
    ]
    cases, _ = make_cases(bench(), rows)
    found = calibrate(bench(), cases, ("macs_per_s",), ("run_s",))
    assert found.set_ups["quick"]["run_s"] == pytest.approx(1e-3, rel=0.05)
    assert found.set_ups["slow"]["run_s"] == pytest.approx(4e-3, rel=0.05)
    assert found.of("new")["run_s"] == pytest.approx(2e-3, rel=0.05)


def test_large_sets_are_calibrated_on_whole_networks():
    rows = [measurement((width,), 1e-3, set_up=set_up) for width in range(1, 9) for set_up in "ab"]
    cases, _ = make_cases(bench(), rows)
    kept = enough_cases(cases, limit=3)
    assert len({case.measurement.group for case in kept}) == 3
    assert len(kept) == 6
    assert enough_cases(cases, limit=8) == cases
    assert enough_cases(cases, limit=3) == kept


def test_a_constant_that_changes_nothing_stays_as_described():
    rows = [measurement(one, truth(one, 1e9, 2e-3), node="conv1") for one in NETWORKS]
    cases, _ = make_cases(bench(), rows)
    assert calibrate(bench(), cases, ("run_s",)).common["run_s"] == pytest.approx(1e-3)


def test_one_wild_measurement_does_not_move_the_others():
    rows = [measurement(one, truth(one, 2e9, 1e-3)) for one in NETWORKS]
    rows[-1] = replace(rows[-1], published_s=20 * rows[-1].published_s)
    cases, _ = make_cases(bench(), rows)
    found = calibrate(bench(), cases, ("macs_per_s", "run_s"))
    assert found.common["macs_per_s"] == pytest.approx(2e9, rel=0.25)


def test_stated_numbers_of_a_row_change_the_machine():
    rows = [
        measurement((64, 64), 1.0),
        measurement((64, 64), 1.0, set_up="x", hardware={"clock_hz": 2e8}),
    ]
    cases, _ = make_cases(bench(), rows)
    plain, twice = predict(bench(), cases, Constants())
    assert plain - 1e-3 == pytest.approx(2 * (twice - 1e-3))


def test_the_predicted_network_was_never_calibrated_on():
    rows = [measurement(one, truth(one, 1e9, 1e-3)) for one in NETWORKS]
    # a network that is ten times slower than the machine can explain
    rows[2] = replace(rows[2], published_s=10 * rows[2].published_s)
    cases, _ = make_cases(bench(), rows)
    folds = fold_numbers([row.group for row in rows], None)
    ticks: list[int] = []
    unseen = predict_unseen(
        bench(), cases, ("macs_per_s", "run_s"), (), folds, lambda: ticks.append(1)
    )
    assert len(ticks) == len(NETWORKS)
    assert unseen.analytical_s[2] == pytest.approx(truth(NETWORKS[2], 1e9, 1e-3), rel=0.01)
    # the step simulator of the fake is 1% slower in its layers
    assert unseen.simulated_s[2] > unseen.analytical_s[2]


def test_with_a_single_network_the_description_predicts():
    cases, _ = make_cases(bench(), [measurement((64,), 9.0)])
    unseen = predict_unseen(bench(), cases, ("macs_per_s",), (), np.array([0]))
    assert unseen.analytical_s[0] == pytest.approx(truth((64,), 1e9, 1e-3))


# ---- cases


def test_networks_that_cannot_be_compared_are_listed_with_reasons():
    def impossible() -> Graph:
        raise SchemaError("its widths are not published")

    rows = [
        measurement((64,), 1e-3),
        measurement((8,), 1e-3, graph_key="a", build=impossible),
        measurement((8,), 1e-3, graph_key="b", build=lambda: chain(8, names=("wide",))),
        measurement((16,), 0.0),
    ]
    rows = [replace(row, line=number) for number, row in enumerate(rows, 2)]
    cases, refusals = make_cases(bench(), rows)
    assert [case.measurement.line for case in cases] == [2]
    assert [refusal.reason for refusal in refusals] == [
        "its widths are not published",
        "layer 'wide': too wide",
        "published as 0 s: shorter than the published digits tell",
    ]


def test_a_network_is_built_once_for_all_its_rows():
    built: list[int] = []

    def build() -> Graph:
        built.append(1)
        return chain(8)

    rows = [measurement((8,), 1e-3, build=build, set_up=name) for name in "abc"]
    cases, _ = make_cases(bench(), rows)
    assert len(cases) == 3
    assert len(built) == 1


def nodes(*named: tuple[str, float]) -> list[Measurement]:
    return [measurement((8, 8, 16), 1e-3, node=name, node_ops=ops) for name, ops in named]


def test_nodes_are_found_by_name_then_by_their_operations():
    executable = compile_graph(chain(8, 8, 16), load())
    work = [2.0 * layer.executed.work.macs for layer in executable.layers]
    assert match_nodes(executable, nodes(("conv2", 0), ("conv1", 0))) == [1, 0]
    # two layers of equal work: the first that is left, then the next
    found = match_nodes(executable, nodes(("x", work[0]), ("y", work[1]), ("z", work[2])))
    assert found == [0, 1, 2]
    found = match_nodes(executable, nodes(("x", 12345.0), ("conv3", 0), ("conv3", 0)))
    assert found == [
        "the compiled network has no node 'x'",
        2,
        "node 'conv3' is compiled into the node of 'conv3'",
    ]


def test_a_node_is_compared_with_its_layer_alone():
    rows = [measurement((64, 64), 1e-3, node="conv2")]
    cases, _ = make_cases(bench(), rows)
    (predicted,) = predict(bench(), cases, Constants())
    assert predicted == pytest.approx(chain(64, 64)["conv2"].work.macs / 1e9)


# ---- from file to tables


def read_chain(row) -> tuple[Measurement, ...]:
    filters = row.integers("filters")
    published_s = row.positive("time_ms") * 1e-3
    return (measurement(filters, published_s, line=row.line, note=row.optional("note")),)


CHAINS = DataSet(
    name="chains",
    title="Chains on a made-up machine",
    device="made up",
    platform="dpu",
    hardware="fake",
    file="chains.csv",
    columns=("filters", "time_ms"),
    read=read_chain,
    constants=("macs_per_s", "run_s"),
    aim=Aim(5.0, 0.9),
)


def chain_file(folder: Path, extra: str = "") -> None:
    lines = [f"{' '.join(map(str, one))},{1e3 * truth(one, 2e9, 2e-3)},x" for one in NETWORKS]
    write(folder / "chains.csv", "filters,time_ms,unknown", *lines, *([extra] if extra else []))


def test_a_data_set_goes_from_file_to_tables_plot_and_summary(tmp_path):
    chain_file(tmp_path)
    result = evaluate_data_set(CHAINS, tmp_path, platform=FAKE)
    assert result.reached
    assert result.mape_percent(result.unseen.simulated_s) < 5
    assert result.mape_percent(result.shipped_s) > 10
    written = write_result(result, tmp_path / "out")
    assert {path.name for path in written} >= {
        "measurements.csv",
        "measurements.md",
        "constants.csv",
        "not_built.md",
        "predicted_against_measured.svg",
        "predicted_against_measured.png",
    }
    table = pd.read_csv(tmp_path / "out" / "measurements.csv")
    assert list(table["network"]) == [f"chain {one}" for one in NETWORKS]
    expected = 100 * (table["simulated (ms)"] / table["published (ms)"] - 1)
    assert table["error (%)"].to_numpy() == pytest.approx(expected.to_numpy())
    assert set(table["source"]) == {"made up"}
    csv, _ = write_summary([result], tmp_path)
    summary = pd.read_csv(csv).iloc[0]
    assert (summary["n"], summary["aim (%)"], summary["reached"]) == (6, 5.0, "yes")


def test_profiles_per_node_also_get_sums_per_network(tmp_path):
    def read_nodes(row) -> tuple[Measurement, ...]:
        filters = row.integers("filters")
        return tuple(
            measurement(filters, 1e-3, node=f"conv{number}", line=row.line)
            for number in range(1, len(filters) + 1)
        )

    chain_file(tmp_path)
    one = replace(CHAINS, read=read_nodes, constants=("macs_per_s",))
    write_result(evaluate_data_set(one, tmp_path, platform=FAKE), tmp_path / "out")
    sums = pd.read_csv(tmp_path / "out" / "networks.csv")
    assert list(sums["n"]) == [len(one) for one in NETWORKS]
    assert sums["published (ms)"].to_numpy() == pytest.approx(sums["n"].to_numpy())


def test_a_way_of_measuring_changes_the_description(tmp_path):
    chain_file(tmp_path)
    plain = evaluate_data_set(CHAINS, tmp_path, platform=FAKE)
    later = evaluate_data_set(replace(CHAINS, changes={"run_s": 3e-3}), tmp_path, platform=FAKE)
    assert later.shipped_s - plain.shipped_s == pytest.approx(2e-3 * np.ones(len(NETWORKS)))


def test_a_missed_aim_is_said(tmp_path):
    chain_file(tmp_path)
    result = evaluate_data_set(replace(CHAINS, aim=Aim(0.001)), tmp_path, platform=FAKE)
    assert result.reached is False
    assert evaluate_data_set(replace(CHAINS, aim=None), tmp_path, platform=FAKE).reached is None


def test_a_set_of_which_nothing_can_be_built_still_makes_tables(tmp_path):
    def refuse(row) -> tuple[Measurement, ...]:
        def build() -> Graph:
            raise UnsupportedLayer("not this one")

        return (replace(read_chain(row)[0], build=build),)

    chain_file(tmp_path)
    result = evaluate_data_set(replace(CHAINS, read=refuse), tmp_path, platform=FAKE)
    assert len(result.refusals) == len(NETWORKS)
    write_result(result, tmp_path / "out")
    csv, _ = write_summary([result], tmp_path)
    assert pd.read_csv(csv).iloc[0]["not built"] == len(NETWORKS)
    assert "not this one" in (tmp_path / "out" / "not_built.md").read_text()


def command(*arguments: str):
    import typer

    from evaluation.published.__main__ import published

    application = typer.Typer()
    application.command()(published)
    return CliRunner().invoke(application, list(arguments))


def test_the_command_evaluates_a_folder_with_other_rows_of_the_same_form(tmp_path):
    header = "network,input_hwc,source,branch,vitis_ai,board,threads,fps,method"
    write(
        tmp_path / "dpu_device_only_fps.csv",
        header,
        "miniVggNet_fmnist,32x32x3,a/b,1.3,1.3,ZCU102,1,1500,VART python",
        "LeNet_fmnist,32x32x3,a/b,1.3,1.3,ZCU102,1,1800,VART python",
        "LeNet_fmnist,32x32x3,a/b,1.3,1.3,ZCU102,4,9000,VART python",
        "mystery,32x32x3,a/b,1.3,1.3,ZCU102,1,900,VART python",
    )
    output = tmp_path / "out"
    result = command("--data", str(tmp_path), "--output", str(output))
    assert result.exit_code == 0, result.output
    summary = pd.read_csv(output / "summary.csv")
    assert list(summary["data set"]) == ["dpu_tutorials"]
    assert (summary["n"][0], summary["not built"][0]) == (2, 1)
    refused = pd.read_csv(output / "dpu_tutorials" / "not_built.csv")
    assert list(refused["network"]) == ["mystery"]
    assert "can be built" in refused["reason"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data-set", "gpu"], "data set 'gpu' is unknown; legal: dpu_nodes"),
        (["--data", "nowhere"], "holds no file of published measurements"),
        (["--data", "nowhere", "--data-set", "dpu_zoo"], "No such file"),
    ],
)
def test_wrong_arguments_are_refused_in_one_line(tmp_path, capsys, arguments, message):
    from evaluation.published.__main__ import published

    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    chosen = [options["--data-set"]] if "--data-set" in options else None
    folder = tmp_path / options["--data"] if "--data" in options else SHIPPED
    with pytest.raises(SystemExit) as stop:
        published(tmp_path / "out", folder, chosen)
    assert stop.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]
