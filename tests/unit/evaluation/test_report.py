"""The report and its command, end to end on made-up tables."""

import re
from pathlib import Path

import pandas as pd
import pytest

from evaluation.facts import Facts, cost_scores, refusal_table
from evaluation.report import Section, render_html, render_markdown
from evaluation.report_sections import report_sections
from evaluation.summary import append_summary, read_summary
from evaluation.table_format import Table
from evaluation.write_report import load_evaluation, write_report
from strata.edges import EDGE_FEATURES
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel, save_platform_model

HEADER = Header(
    *("cpu", "0.1.0", "2026-01-01T00:00:00Z", "tiny", 1),
    host={"processor": "Some <CPU>"},
    toolchain={"openvino": "2026.0"},
)
CASES = pd.DataFrame({"wall_s": [0.03, 0.05, 0.04], "device_s": [0.02, 0.04, 0.03]})
REFUSED_NETWORKS = pd.DataFrame(
    {"set": ["keras"], "network": ["nasnet"], "reason": ["op <Foo> lacks"]}
)


@pytest.fixture(scope="module")
def mapping_model(forest_of) -> MappingModel:
    channels = EDGE_FEATURES.index("producer_channels")
    split = forest_of([(channels, 64.5, 1, 2), (1.0,), (0.0,)])
    always = forest_of([(1.0,)])
    return MappingModel({"convolution->add": split, "*->activation": always})


@pytest.fixture(scope="module")
def fill(networks, layers, mapping, convolution_models, convolution_table, mapping_model):
    """Fills a folder as the pipeline does; gives the command's arguments."""

    def filled(folder: Path) -> dict[str, Path]:
        evaluation, tables, model = folder / "evaluation", folder / "tables", folder / "cpu.strata"
        (tables / "layers").mkdir(parents=True)
        evaluation.mkdir()
        frames = {
            evaluation / "networks": networks,
            evaluation / "layers": layers,
            evaluation / "mapping": mapping,
            evaluation / "refused": REFUSED_NETWORKS,
            tables / "networks": CASES,
            tables / "refusals": pd.DataFrame({"reason": ["time limit", "time limit"]}),
            tables / "layers" / "convolution": convolution_table,
        }
        for path, frame in frames.items():
            frame.to_parquet(path.with_suffix(".parquet"))
        models = {"convolution": convolution_models}
        save_platform_model(PlatformModel(HEADER, models, mapping_model), model)
        return {
            **{"evaluation": evaluation, "tables": tables, "platform": model},
            "summary": folder / "summary.csv",
            "output": folder / "report" / "index.html",
        }

    return filled


@pytest.fixture(scope="module")
def written(fill, tmp_path_factory) -> dict[str, Path]:
    """Arguments of a command that has run."""
    arguments = fill(tmp_path_factory.mktemp("run"))
    write_report(**arguments)
    return arguments


@pytest.fixture
def inputs(fill, tmp_path) -> dict[str, Path]:
    """Arguments of a command that has not run."""
    return fill(tmp_path)


def test_page_is_self_contained_and_complete(written):
    page = written["output"].read_text()
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "Some &lt;CPU&gt;" in page
    for text in ("openvino", "Noise floor", "time limit", "op &lt;Foo&gt; lacks", "table 6"):
        assert text in page
    assert "3 benchmark points measured, 2 refused; median cost per point 0.040 s, 75%" in page
    assert "if producer channels &lt;= 64" in page
    assert "<td>any other layer</td><td>activation</td><td></td>" in page


def test_markdown_links_figures_and_tables_are_beside_it(written):
    folder = written["output"].parent
    links = re.findall(r"\]\((figures/[^)]+)\)", (folder / "report.md").read_text())
    assert len(links) == 8
    for link in links:
        assert (folder / link).stat().st_size > 5_000
    assert {path.stem for path in (folder / "tables").glob("*.csv")} >= {
        *("table2", "table3", "table4", "table5", "table6", "error_contributions_mixed")
    }


def test_summary_holds_what_the_report_says(written):
    frame = read_summary(written["summary"])
    row = frame.query("data_set == 'table2' and subject == 'networks/predicted'")
    row = row.query("model == 'mixed' and metric == 'mape'")
    assert f"mixed {row['value'].item():.2f}%" in written["output"].read_text()
    assert row["n"].item() == 12


def test_rerun_changes_nothing_in_the_summary(written):
    before = written["summary"].read_text()
    names = ("evaluation", "tables", "platform")
    found = load_evaluation(*(written[name] for name in names))
    append_summary(written["summary"], found.scores)
    assert written["summary"].read_text() == before


def test_totals_that_lack_layers_are_said_throughout(inputs, written, networks, layers):
    is_it = layers["network"] == "openpose"
    lost = is_it & (layers["operation"] == "convolution")
    estimated_s = layers["estimated_s"].where(~lost)
    status = layers["status"].where(~lost, "untimed")
    lacking = networks.assign(untimed=(networks["network"] == "openpose").astype(int))
    lacking.to_parquet(inputs["evaluation"] / "networks.parquet")
    unknown = layers.assign(estimated_s=estimated_s, status=status)
    unknown.to_parquet(inputs["evaluation"] / "layers.parquet")
    found = load_evaluation(*(inputs[name] for name in ("evaluation", "tables", "platform")))
    text = render_markdown("T", report_sections(found, found.scores))
    said = "Incomplete, for layers of unknown time: 1."
    assert text.count(said) == 2  # table 2's networks, and both sets together
    assert "| openpose | convolution_1 | convolution | untimed |" in text
    assert "their error is all that was measured of them" in text
    whole = written["output"].with_name("report.md").read_text()
    for word in ("Incomplete", "Untimed", "unknown time"):
        assert word in text
        assert word not in whole


def test_a_run_without_nasbench_and_keras_says_so(inputs, networks):
    networks[networks["set"] == "table2"].to_parquet(inputs["evaluation"] / "networks.parquet")
    found = load_evaluation(*(inputs[name] for name in ("evaluation", "tables", "platform")))
    text = render_markdown("T", report_sections(found, found.scores))
    assert "Not measured in this run: Keras applications." in text
    assert "Not measured in this run: NASBench-101 sample." in text


def test_a_device_without_profiler_has_a_report_of_whole_networks(inputs, networks, layers):
    layers.iloc[:0].to_parquet(inputs["evaluation"] / "layers.parquet")
    networks[networks["mapping"] == "predicted"].to_parquet(
        inputs["evaluation"] / "networks.parquet"
    )
    write_report(**inputs)
    text = inputs["output"].with_name("report.md").read_text()
    assert "Only whole networks were measured." in text
    assert "MAPE of the network total" in text
    assert "error/" not in inputs["summary"].read_text()


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("evaluation/networks.parquet", "networks.parquet: no such table"),
        ("tables/refusals.parquet", "refusals.parquet: no such table"),
        ("cpu.strata", "no such platform model"),
    ],
)
def test_missing_input_is_one_line_and_nothing_is_written(inputs, capsys, broken, message):
    (inputs["evaluation"].parent / broken).unlink()
    with pytest.raises(SystemExit) as stop:
        write_report(**inputs)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not inputs["output"].exists()
    assert not inputs["summary"].exists()


def test_output_must_be_the_page(inputs, capsys):
    with pytest.raises(SystemExit):
        write_report(**inputs | {"output": inputs["output"].parent})
    assert "index.html" in capsys.readouterr().err


def test_costs_become_summary_rows():
    facts = Facts("cpu", "tiny", "0", "now", points=2, refused={"a": 3}, wall_s=(1.0, 3.0),
                  device_s=(0.5, 1.5))  # fmt: skip
    values = {row.metric: (row.value, row.unit, row.n) for row in cost_scores(facts)}
    assert values == {
        **{"wall_median": (2.0, "s", 2), "device_share": (50.0, "%", 2)},
        **{"measured": (2.0, "1", 5), "refused": (3.0, "1", 5)},
    }


def test_many_reasons_are_summed_up():
    facts = Facts("cpu", "tiny", "0", "now", refused={f"reason {i}": 2 for i in range(25)})
    frame = refusal_table(facts).frame
    assert frame["Points"].sum() == 50
    assert frame["Reason"].tolist()[-1] == "5 further reasons"


def test_empty_tables_and_markup_are_safe(tmp_path):
    table = Table("t", "<b>Title</b>", pd.DataFrame(columns=["a"]), ("note",))
    sections = [Section("Chapter", ("x < y",), (table,))]
    assert "&lt;b&gt;Title" in render_html("T", sections, tmp_path)
    assert "x &lt; y" in render_html("T", sections, tmp_path)
    assert "None." in render_markdown("T", sections)
