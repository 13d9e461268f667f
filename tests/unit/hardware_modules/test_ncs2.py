"""Both NCS2 modules against stand-ins for Intel's compiler and the stick."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from ncs2_stand_in import RECORDED, environment

from benchmark.config import load_config
from benchmark.plan import make_case
from benchmark.runner import measure_cases
from benchmark.turns import Job
from hardware_modules.ncs2 import counter_rows
from hardware_modules.ncs2_plan import name_layers
from hardware_modules.ncs2_toolchain import Toolchain, missing
from hardware_modules.registry import create
from strata import operations as op
from strata.builder import GraphBuilder
from strata.errors import MatchError, SchemaError, UnsupportedLayer

CONFIG = Path(__file__).parents[3] / "config"
needs_toolchain = pytest.mark.skipif(missing() is not None, reason=str(missing()))
PLANS = f"""\
import json, pathlib, sys
print(json.dumps({{"ready": "1"}}), flush=True)
for line in sys.stdin:
    answer = {{"plan": pathlib.Path({str(RECORDED)!r}).read_text(), "devices": ["1.2-ma2480"]}}
    print(json.dumps(answer), flush=True)
"""
STICK = """\
import json, sys
log = open(sys.argv[0] + ".log", "a")
print(json.dumps({"ready": "1"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    what = next(key for key in ("devices", "run", "graph") if key in request)
    name = request["graph"]["name"] if what == "graph" else ""
    print(what, name, file=log, flush=True)
    layer = {"name": "a", "status": "EXECUTED", "layer_type": "ReLU", "execution_type": "Relu",
             "real_us": 20, "index": 1}
    answers = {
        "devices": {"devices": STICKS},
        "run": {"runs": [{"latency_s": 1e-3, "layers": [layer]}] * request.get("run", 0)},
        "graph": {"plan": 'label="Graph g"'},
    }
    answer = {"refused": "NC_ERROR"} if name == "broken" else answers[what]
    print(json.dumps(answer), flush=True)
"""


def simple_graph(batch=1):
    builder = GraphBuilder("simple")
    source = builder.input(batch, 16, 28, 28, name="in")
    first = builder.convolution(source, 32, 3, activation="relu", normalise=True, name="first")
    pooled = builder.pooling(first, "max", 2, name="pool")
    second = builder.convolution(pooled, 32, 1, name="second")
    added = builder.add(op.Elementwise("add"), second, pooled, name="add")
    flat = builder.add(op.Flatten(), added, name="flat")
    builder.dense(flat, 10, name="dense")
    return builder.build()


def relu(name):
    builder = GraphBuilder(name)
    source = builder.input(1, 8, 8, 8, name="in")
    builder.add(op.Activation("relu"), source, name="a")
    return builder.build()


@pytest.fixture
def simulate(tmp_path):
    """Simulated modules of the given options, their compiler stood in for."""
    made = []
    folder = environment(tmp_path / "toolchain", PLANS)

    def make(**options):
        made.append(create("ncs2_simulated", {"toolchain": str(folder), **options}))
        return made[-1]

    yield make
    for module in made:
        module.toolchain.close()


def profiled(module, runs=(3, 1)):
    graph = simple_graph()
    report = module.profile(module.compile(graph), *runs)
    return report, module.parse(report, graph)


def test_a_profile_is_of_half_precision_and_says_what_made_it(simulate):
    report, profile = profiled(simulate())
    assert profile.bits == 16
    assert profile.toolchain["compiler"] == "openvino 1"
    assert profile.toolchain["hardware"] == "myriad_x_ncs2"
    assert profile.samples_s == (profile.time_s,) * 3
    # the device's nodes and what comes on top of them
    assert sum(node.time_s for node in profile.nodes) < profile.time_s
    kinds = {node.name: node.kind for node in profile.nodes}
    assert kinds["add"] == "Sum"
    assert kinds["first/normalise"] == "MyriadXHwOp"
    assert report["texts"]["average_counters.csv"].startswith("layerName;execStatus;")


def test_the_report_tells_where_operands_lie_and_how_layers_were_cut(simulate):
    report, _ = profiled(simulate())
    facts = {each["layer"]: each for each in report["plan"]["layers"]}
    assert facts["first/normalise"]["reads_from"] == "DDR"
    assert facts["second"]["reads_from"] == "CMX"
    assert facts["second"]["tiles"] == 1
    assert facts["dense"]["tiles"] == 2
    assert facts["second"]["modes"] == ["MODE_4_64"]


def test_noise_is_seeded_and_off_unless_asked_for(simulate):
    def times(**options):
        return [node.time_s for node in profiled(simulate(**options))[1].nodes]

    assert times() == times()
    assert times(noise=0.1, seed=1) == times(noise=0.1, seed=1) != times(noise=0.1, seed=2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"noise": 2.0}, "option 'noise' is 2.0"),
        ({"decimals": 1}, "option 'decimals' is 1"),
        ({"compile_limit_s": 0.0}, "option 'compile_limit_s' is 0; legal: above 0"),
        ({"compile_limit_s": float("nan")}, "option 'compile_limit_s' is nan; legal: above 0"),
        ({"hardware": "abacus"}, "abacus"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, told):
    with pytest.raises(SchemaError, match=told) as error:
        create("ncs2_simulated", options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["compile_limit_s", "run_limit_s"])
@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_a_stick_is_waited_for_a_finite_time(option, value):
    with pytest.raises(SchemaError, match=f"^ncs2: option '{option}' is .*; legal: above 0 and"):
        create("ncs2", {option: value})


@pytest.mark.parametrize("name", ["default", "tiny", "full"])
@pytest.mark.parametrize("module", ["ncs2", "ncs2_simulated"])
def test_a_hanging_compiler_is_noticed_before_the_pipeline_gives_up(name, module):
    run = load_config(CONFIG / f"{name}.yaml")
    limit_s = create(module, {}).options["compile_limit_s"]
    assert limit_s < run.measurement.time_limit_s


def test_what_exceeds_the_sticks_memory_is_refused(simulate):
    module = simulate()
    module = replace(module, machine=module.machine.changed(memory_bytes=100_000))
    with pytest.raises(UnsupportedLayer, match=r"graph 'simple': the plan needs .* MiB; legal: "):
        module.compile(simple_graph())


def test_several_images_are_refused_because_the_plan_is_of_one(simulate):
    with pytest.raises(UnsupportedLayer, match="input 'in' holds 2 images; legal: 1"):
        simulate().compile(simple_graph(batch=2))


def test_damaged_counters_and_foreign_plans_are_match_errors(simulate):
    module = simulate()
    report, _ = profiled(module)
    damaged = json.loads(json.dumps(report))
    text = damaged["texts"]["average_counters.csv"]
    damaged["texts"]["average_counters.csv"] = text[: len(text) // 2]
    with pytest.raises(MatchError, match=r"average_counters.csv, line \d+: "):
        module.parse(damaged, simple_graph())
    with pytest.raises(MatchError, match="which is no layer of graph 'other'"):
        module.parse(report, relu("other"))


def test_no_case_is_lost_whatever_the_compiler_does(tmp_path):
    worker = """\
import json, os, signal, sys, time
count = len(open(sys.argv[0] + ".log").read()) if os.path.exists(sys.argv[0] + ".log") else 0
print(json.dumps({"ready": "1"}), flush=True)
for line in sys.stdin:
    open(sys.argv[0] + ".log", "a").write("x")
    count += 1
    if count == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    elif count == 2:
        time.sleep(60)
    elif count == 3:
        print("garbage", flush=True)
    else:
        print(json.dumps({"refused": "Unsupported layer"}), flush=True)
"""
    options = {"toolchain": str(environment(tmp_path / "t", worker)), "compile_limit_s": 0.5}
    settings = {"height": 8, "width": 8, "channels": 8, "filters": 8, "kernel": 1, "stride": 1}
    cases = [
        make_case("convolution", {**settings, "filters": 8 * number, "kernels": 1})
        for number in (1, 2, 3, 4)
    ]
    job = Job("ncs2_simulated", options, repeats=1, warmup=0, time_limit_s=20.0)
    summary = measure_cases(cases, job, tmp_path / "rows.jsonl", "test-ncs2")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert (summary.points, summary.refused) == (4, 4)
    told = [row["profile"]["refusal"] for row in rows]
    for reason, part in zip(
        told,
        ("signal 11", "longer than 0.5 s", "answered 'garbage'", "Unsupported layer"),
        strict=True,
    ):
        assert part in reason
        assert "\n" not in reason


@needs_toolchain
def test_the_recorded_plan_is_still_what_the_compiler_makes():
    toolchain = Toolchain()
    try:
        plan = toolchain.compile(simple_graph()).plan
    finally:
        toolchain.close()
    assert plan == name_layers(RECORDED.read_text(), simple_graph())[0]


def stick(folder, sticks):
    toolchain = environment(folder, f"STICKS = {sticks!r}\n{STICK}")
    return create("ncs2", {"toolchain": str(toolchain)}), toolchain / "venv/bin/python.log"


def test_without_a_stick_the_real_module_refuses_in_one_line(tmp_path):
    module, _ = stick(tmp_path, [])
    try:
        reason = module.supports(relu("one"))
    finally:
        module.toolchain.close()
    assert reason == "no NCS2 answers at this machine's USB ports; see docs/ncs2.md"


def test_a_stick_holds_one_network_and_another_is_loaded_anew(tmp_path):
    module, log = stick(tmp_path, ["1.2-ma2480"])
    try:
        one = module.compile(relu("one"))
        two = module.compile(relu("two"))
        module.profile(two, 2, 0)
        report = module.profile(one, 2, 1)
        module.profile(one, 1, 0)
        with pytest.raises(UnsupportedLayer, match="ncs2: graph 'broken': NC_ERROR"):
            module.compile(relu("broken"))
        module.profile(one, 1, 0)
    finally:
        module.toolchain.close()
    asked = [line.strip() for line in log.read_text().splitlines()]
    loads = [line for line in asked if line.startswith("graph")]
    assert loads == ["graph one", "graph two", "graph one", "graph broken", "graph one"]
    assert [run["warmup"] for run in report["runs"]] == [True, False, False]
    assert report["toolchain"]["device"] == "1.2-ma2480"
    assert module.parse(report, relu("one")).nodes[0].time_s == pytest.approx(20e-6)


def test_a_stick_takes_no_plan_of_one_image_for_several(tmp_path):
    module = create("ncs2", {"toolchain": str(environment(tmp_path, PLANS))})
    try:
        with pytest.raises(UnsupportedLayer, match="ncs2: graph 'simple': input 'in' holds 2 imag"):
            module.compile(simple_graph(batch=2))
        assert module.compile(simple_graph()).plan.network == "simple"
    finally:
        module.toolchain.close()


def test_counters_are_means_of_the_runs_with_parts_named_after_their_layer():
    def run(first_us, second_us):
        layers = [
            ("gate", "EXECUTED", second_us, 2),
            ("Add_17", "EXECUTED", first_us, 1),
            ("z", "OPTIMIZED_OUT", 0, 0),
            ("in", "NOT_RUN", 0, 0),
        ]
        keys = ("name", "status", "real_us", "index")
        more = {"layer_type": "Eltwise", "execution_type": "Power"}
        return {"layers": [dict(zip(keys, layer, strict=True)) | more for layer in layers]}

    rows = counter_rows([run(10, 30), run(20, 50)], {"Add_17": "gate//1"})
    assert [row.name for row in rows] == ["in", "z", "gate//1", "gate"]
    assert [row.time_s for row in rows] == pytest.approx([0.0, 0.0, 15e-6, 40e-6])
