"""Shares of fused pairs by hand, and the command through Vela."""

import pytest
import typer
from typer.testing import CliRunner

from benchmark.matcher import EdgeRow
from evaluation import fused_pairs
from evaluation.table_format import to_markdown
from hardware_modules.ethos_u_compiler import missing
from strata.errors import UnsupportedLayer


def counted(monkeypatch, networks):
    """Fused of networks given as their rows, None where the toolchain refuses."""

    def edges(module, graph):
        if graph is None:
            raise UnsupportedLayer("refused")
        return [EdgeRow(key, flag, ()) for key, flag in graph]

    monkeypatch.setattr(fused_pairs, "edges", edges)
    found = fused_pairs.Fused()
    for network in networks:
        fused_pairs.add_network(found, None, network)
    return found


def test_shares_are_of_decided_pairs(monkeypatch):
    rows = [("a->b", "FUSED")] * 3 + [("a->b", "NOT_FUSED"), ("a->b", "POSSIBLY_FUSED")]
    one = counted(monkeypatch, [rows, None, [("a->c", "NOT_FUSED"), ("a->d", "FUSED")] * 2])
    two = counted(monkeypatch, [[("a->d", "NOT_FUSED")]])
    table = fused_pairs.pair_table({"one": one, "two": two}, 1)
    # never fused, a->c is left out; a->b is unknown on the second platform
    assert to_markdown(table.frame).splitlines()[2:] == [
        "| a->b | 4 | 75.00 | – |",
        "| a->d | 2 | 100.00 | 0.00 |",
    ]
    assert table.notes[0] == "Networks: one 2 (1 refused), two 1 (0 refused)."
    assert [*fused_pairs.pair_table({"one": one, "two": two}, 3).frame["pair"]] == ["a->b"]


def test_nothing_seen_is_an_empty_table(monkeypatch):
    table = fused_pairs.pair_table({"one": counted(monkeypatch, [None])}, 1)
    assert to_markdown(table.frame).splitlines() == ["| pair | n | one |", "| --- | --- | --- |"]


def run(*arguments):
    application = typer.Typer()
    application.command()(fused_pairs.command)
    return CliRunner().invoke(application, list(map(str, arguments)))


@pytest.mark.parametrize(
    ("platform", "told"),
    [("nope", "no platform 'nope'"), ("openvino_cpu", "openvino_cpu is measured; legal here")],
)
def test_a_wrong_platform_is_one_line(platform, told):
    done = run(platform)
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert told in done.stderr


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_vela_fuses_every_relu_into_its_convolution(tmp_path, monkeypatch):
    monkeypatch.setattr(fused_pairs, "KINDS", ("pooled",))
    done = run("ethos_u55_256", "--networks", 3, "--fewest", 1, "--output", tmp_path)
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "pairs.md").read_text().splitlines()
    pair = next(line for line in lines if line.startswith("| convolution->activation"))
    assert pair.endswith("| 100.00 |")
