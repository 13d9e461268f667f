import json
from math import exp

import numpy as np
import pandas as pd
import pytest

from evaluation.families import family_coverage, left_out_families, pooled_coverage
from model_gen.total_fit import Total
from strata.builder import GraphBuilder
from strata.estimate import estimate
from strata.graph import Graph
from strata.graph_json import graph_to_dict
from strata.intervals import Intervals, NetworkSpread, Widths
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel
from strata.validity import Region, Validity


def total(error: float) -> Total:
    return Total(error, (0.1, 50.0), 30)


# 1 % to 50 %: the 90% quantile of 50 errors is the 46th, (50 + 1) x 0.9 rounded up
OTHERS = [total(each / 100 * (-1) ** each) for each in range(1, 51)]


def test_a_family_is_judged_by_what_the_others_say():
    own = [total(0.1), total(-0.45), total(0.47), total(-0.9)]
    (found,) = left_out_families({"regnet": own, "vovnet": OTHERS})
    assert (found.family, found.networks, found.covered) == ("regnet", 4, 2)
    assert found.width == pytest.approx(exp(0.46) - 1, rel=1e-6)
    assert pooled_coverage([found]) == 0.5


def test_random_networks_are_always_among_the_others():
    families = {"regnet": [total(0.2)], "unet": [total(0.3)] * 2}
    found = left_out_families(families, OTHERS)
    counts = [(each.family, each.networks, each.covered) for each in found]
    assert counts == [("regnet", 1, 1), ("unet", 2, 2)]
    assert left_out_families(families, OTHERS[:30]) == ()


WIDTHS = Widths(None, (0.1, 0.2, 0.3, 0.4))
RANGES = {"convolution": {"filters": (16.0, 64.0)}}
SPREAD = NetworkSpread(1.0, 0.0, 0.0, (WIDTHS,))
INTERVALS = Intervals("roofline", layers={"convolution": (WIDTHS,)}, network=SPREAD)
MEASURED = Region(("channels",), (1.0,), np.array([[np.log1p(8.0)]], dtype=np.float32), 1.0, 2.0)


def platform(intervals: Intervals = INTERVALS) -> PlatformModel:
    header = Header("by_hand", "0", "2025-01-01T00:00:00+00:00", "test", 0, ranges=RANGES)
    models = {"convolution": {"roofline": Roofline(1e9, 1e9, 1e-6)}}
    regions = Validity({"convolution": MEASURED})
    return PlatformModel(header, models, MappingModel(), intervals=intervals, validity=regions)


def network() -> Graph:
    build = GraphBuilder("one layer")
    build.convolution(build.input(1, 8, 4, 4), 16, 3, name="convolution")
    return build.build()


def table(times_s, families):
    """The network again and again, with other times."""
    graph = json.dumps(graph_to_dict(network()))
    cases = [f"case{number}" for number in range(len(times_s))]
    columns = {"case_id": cases, "time_s": times_s, "family": families, "graph": graph}
    return pd.DataFrame(columns)


def test_totals_of_a_table_are_those_of_the_finished_model(tmp_path):
    model = platform()
    total_s = estimate(network(), model, "roofline").total_s
    others = [total_s * exp(each.error) for each in OTHERS]
    path = tmp_path / "calibration.parquet"
    # inside 46%, and outside
    table([*others, 1.5 * total_s, 1.6 * total_s], [None] * 50 + ["unet"] * 2).to_parquet(path)
    (found,) = family_coverage(path, model)
    assert (found.family, found.networks, found.covered) == ("unet", 2, 1)


def test_what_is_not_known_is_not_said(tmp_path):
    path = tmp_path / "calibration.parquet"
    assert family_coverage(path, platform()) == ()
    table([1.0], ["unet"]).to_parquet(path)
    assert family_coverage(path, platform(Intervals())) == ()
    table([1.0], ["unet"]).drop(columns="family").to_parquet(path)
    assert family_coverage(path, platform()) == ()
