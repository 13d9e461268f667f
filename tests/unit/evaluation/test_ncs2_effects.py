"""What ignoring the NCS2's in-network effects costs, on plans written by hand."""

import pytest
import typer
from typer.testing import CliRunner

from evaluation import ncs2_effects as effects
from evaluation.table_format import to_markdown
from hardware_modules.ncs2_toolchain import CompiledPlan, missing
from simulators import ncs2
from simulators.ncs2.plan import Operand, Plan, Stage
from strata.builder import GraphBuilder
from strata.errors import UnsupportedLayer
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel

# a cycle and a byte of DDR take 1 ns, a copy 3 us, a run 100 us and 1 ns per value sent
MACHINE = ncs2.load("myriad_x_ncs2").changed(
    clock_hz=1e9,
    stage_start_s=1e-6,
    pixel_cycles=0,
    row_cycles=0,
    cmx_bytes_per_s=1e18,
    ddr_bytes_per_s=1e9,
    ddr_row_s=0,
    copy_start_s=3e-6,
    copy_row_s=0,
    copy_bytes_per_s=1e18,
    run_start_s=100e-6,
    link_bytes_per_s=1e9,
    link_input_bytes=1,
)


def tensor(location, usage="Intermediate", name="tensor"):
    """16 maps of 8x8 in FP16: 128 rows of 16 bytes."""
    dims = {"W": 8, "H": 8, "C": 16, "N": 1}
    strides = {"W": 2, "H": 16, "C": 128, "N": 2048}
    return Operand(name, usage, "FP16", dims, strides, location)


def engine(layer, location="CMX", operation="CONV"):
    """8x8 pixels of 64 cycles; from CMX 1 us to start and 4.096 us to compute."""
    attributes = {
        "hwOpType": operation,
        "kernelSizeX": 1,
        "kernelSizeY": 1,
        "kernelStride": 1,
        "tiling": {"numDescr": 1, "cost": 64},
    }
    operands = (tensor(location),), (tensor("CMX"),)
    return Stage(0, layer, "MyriadXHwOp", layer, "Convolution", 0, attributes, *operands)


def copy(name, execution=0, host=None):
    """3 us; it reads the network's input, 1,024 values."""
    operands = (tensor("BSS", "Input", "image"),), (tensor("CMX"),)
    return Stage(execution, name, "Copy", name, "Copy", 0, {}, *operands, host)


def plan(*stages):
    return Plan("by hand", stages)


def network(name="pooled"):
    """Convolution, ReLU, maximum pooling, average pooling."""
    builder = GraphBuilder(name)
    maps = builder.convolution(builder.input(1, 16, 8, 8), 16, 1, name="conv", activation="relu")
    maps = builder.pooling(maps, "max", 2, name="max")
    builder.pooling(maps, "average", 2, name="average")
    return builder.build()


# From DDR the engine waits for the first 5 of 8 rows of each map, 1.28 us of 2.048; the rest hides
# behind computing: 1 + 1.28 + 4.096 = 6.376 us. The injected copy delays it while it waits: 7.656.
PLAN = plan(
    engine("first", "BSS"),
    copy("beside", host="first"),
    copy("alone"),
    engine("second"),
    copy("nothing", execution=-1),
)
# start, input over the link, the copy alone
FIXED_US = 100 + 1.024 + 3
BASE_US = FIXED_US + 7.656 + 5.096


@pytest.mark.parametrize(
    ("change", "stages_us"),
    [
        ("all from CMX", 5.096 + 5.096),
        ("all from DDR", 7.656 + 6.376),
        ("injected alone", 6.376 + 3 + 5.096),
        ("injected free", 6.376 + 5.096),
    ],
)
def test_a_change_of_the_plan_by_hand(change, stages_us):
    changed = effects.CHANGES[change](PLAN)
    assert effects.latency_s(changed, MACHINE) == pytest.approx((FIXED_US + stages_us) * 1e-6)
    row = effects.residence_row(effects.Compiled(network(), PLAN, PLAN), MACHINE)
    expected = 100 * ((FIXED_US + stages_us) / BASE_US - 1)
    assert row[f"{change} (%)"] == pytest.approx(expected)


def test_latency_and_shares_of_a_plan():
    row = effects.residence_row(effects.Compiled(network(), PLAN, PLAN), MACHINE)
    assert row["latency (ms)"] == pytest.approx(BASE_US * 1e-3)
    # one of two stages on the engine; one of two copies, the third does nothing
    assert row["stages reading DDR (%)"] == 50
    assert row["copies injected (%)"] == 50


@pytest.mark.parametrize(
    ("stages", "merged", "together"),
    [
        ([engine("conv", operation="CONV_POOL")], 1, 1),
        ([engine("conv"), engine("conv", operation="POOL")], 1, 0),
        ([engine("conv", operation="CONV_POOL"), engine("conv", operation="POOL")], 1, 0),
        ([engine("conv"), engine("max", operation="POOL")], 0, 0),
        ([engine("conv"), engine("conv/relu"), engine("max", operation="POOL")], 0, 0),
        # gone before the compiler's passes: nothing pools
        ([engine("conv")], 0, 0),
    ],
)
def test_which_poolings_are_merged_and_run_as_one_operation(stages, merged, together):
    found = effects.pooling_counts(network(), plan(*stages, engine("average", operation="POOL")))
    assert found == {"max poolings": 1, "merged": merged, "in one operation": together}


def test_the_change_without_merged_poolings():
    one, two = plan(engine("conv", operation="CONV_POOL")), plan(engine("conv"), engine("max"))
    row = effects.pooling_row(effects.Compiled(network(), one, two), MACHINE)
    # 100 + 5.096 us, and 5.096 more
    assert row["none merged (%)"] == pytest.approx(100 * 5.096 / 105.096)


def model(fusion):
    """1 us per convolution, whatever it absorbs, and 4 us per pooling alone."""
    fixed = Roofline(peak_ops_per_s=None, peak_bytes_per_s=1e30, floor_s=1e-6)
    # 16 maps of 8x8 to 4x4, and to 2x2, in 16 bits: 2,560 bytes in 4 us, 640 in 1 us
    pooling = Roofline(peak_ops_per_s=None, peak_bytes_per_s=640e6, floor_s=1e-6)
    return PlatformModel(
        Header("by hand", "0", "2025-01-01T00:00:00+00:00", "test", 0, bits=16),
        {
            "convolution": {"roofline": fixed},
            "max_pooling": {"roofline": pooling},
            "average_pooling": {"roofline": pooling},
        },
        MappingModel({"convolution->activation": effects._YES} | fusion),
    )


@pytest.mark.parametrize("as_it_is", ["never", "always"])
def test_a_models_trees_are_replaced_by_never_and_always(as_it_is):
    fusion = dict.fromkeys(effects.POOLING_TREES, effects._YES) if as_it_is == "always" else {}
    variants = effects.mapping_variants(model(fusion))
    assert variants["as it is"].mapping.fusion.keys() - fusion.keys() == {"convolution->activation"}
    compiled = effects.Compiled(network(), PLAN, PLAN)
    row = effects.model_row(compiled, MACHINE, variants)
    assert (row["merged never"], row["merged always"]) == (0, 1)
    merged = row["merged always"], row["always (%)"]
    assert (row["merged as it is"], row["as it is (%)"]) == (
        merged if as_it_is == "always" else (0, row["never (%)"])
    )
    # 4 us of 116.776 lie between
    assert row["never (%)"] - row["always (%)"] == pytest.approx(100 * 4 / BASE_US, rel=1e-6)


def test_the_last_row_sums_counts_and_averages_percentages():
    rows = {"a": {"merged": 1, "change (%)": -4.0, "latency (ms)": 1.0}}
    rows |= {"b": {"merged": 2, "change (%)": 2.0, "latency (ms)": 1.0}, "refused": {}}
    signed = effects.effect_table("name", "title", rows, "note")
    last = signed.frame.iloc[-1]
    assert (last["merged"], last["change (%)"]) == (3, -1)
    assert "| refused | – | – | – |" in to_markdown(signed.frame)
    errors = effects.effect_table("name", "title", rows, "note", errors=True)
    assert errors.frame.iloc[-1]["change (%)"] == 3


def test_a_refused_network_keeps_its_row_and_its_reason(monkeypatch):
    class Refusing:
        def compile(self, graph, options):
            if graph.name == "no":
                raise UnsupportedLayer("the plugin's words")
            return CompiledPlan(plan(engine("conv")) if options else PLAN)

    monkeypatch.setattr(effects, "NETWORKS", {"no": lambda: network("no"), "yes": network})
    found, refusals = effects.compile_networks(Refusing())
    assert refusals == ["no is refused: the plugin's words"]
    assert found["no"] is None
    assert (found["yes"].plan, found["yes"].unmerged) == (PLAN, plan(engine("conv")))
    tables = effects.effect_tables(found, MACHINE, model({}))
    assert [table.name for table in tables] == ["residence", "pooling", "model"]
    assert all([*table.frame["network"]][:2] == ["no", "yes"] for table in tables)


def run(*arguments):
    application = typer.Typer()
    application.command()(effects.command)
    return CliRunner().invoke(application, list(map(str, arguments)))


def test_without_the_toolchain_one_line_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setenv("STRATA_NCS2", str(tmp_path / "nowhere"))
    done = run("--output", tmp_path / "tables")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "make ncs2-toolchain" in done.stderr
    assert not (tmp_path / "tables").exists()


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_the_command_through_the_compiler(monkeypatch, tmp_path):
    def pooled():
        builder = GraphBuilder("pooled")
        image = builder.input(1, 16, 56, 56)
        maps = builder.convolution(image, 16, 3, name="conv", activation="relu")
        builder.pooling(maps, "max", 2, name="max")
        return builder.build()

    monkeypatch.setattr(effects, "NETWORKS", {"pooled": pooled})
    done = run("--output", tmp_path)
    assert done.exit_code == 0, done.output
    assert "| pooled | 1 | 1 | 1 |" in (tmp_path / "pooling.md").read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{kind}" for name in ("residence", "pooling") for kind in ("csv", "md")
    }
