"""What evaluation records of a measured network: a time that nobody knows is never a zero."""

import json
from dataclasses import replace
from math import isnan

import numpy as np
import pandas as pd
import pytest

from evaluation.evaluate import evaluate
from evaluation.frames import KINDS, check_layers, check_networks, read_table
from strata.builder import GraphBuilder
from strata.forest import Forest
from strata.graph_json import graph_to_dict
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel, save_platform_model
from strata.profile import ExecutedNode, Profile
from strata.profile_json import profile_to_dict

NODES = (
    ExecutedNode("a", "Conv", ("convolution",), (), None, 3e-3),
    ExecutedNode("b", "Pool", ("pooling",), ("a",), None, 1e-3),
)
PROFILE = Profile("told", NODES, (4e-3,) * 4, 4e-3)


def network():
    build = GraphBuilder("small")
    build.convolution(build.input(1, 8, 4, 4), 16, 3, name="convolution")
    build.pooling("convolution", "max", 2, name="pooling")
    return build.build()


def model(on_host: float) -> PlatformModel:
    """A convolution of 36,864 operations: 2 ms; 1,280 bytes of pooling: 1 ms, or on a host."""
    zero = np.array([0])
    leaf = Forest(np.array([-1]), np.array([0.0]), zero, zero, np.array([on_host]), zero)
    roofs = {
        "convolution": {"roofline": Roofline(18.432e6, 1e12, 1e-6)},
        "max_pooling": {"roofline": Roofline(1e12, 1.28e6, 1e-6)},
    }
    header = Header("told", "0", "2025-01-01T00:00:00+00:00", "test", 0)
    return PlatformModel(header, roofs, MappingModel(placement={"max_pooling->host": leaf}))


@pytest.fixture
def evaluated(tmp_path, capsys):
    """Evaluates networks of these profiles; the tables by name, and what was printed."""

    def run(on_host: float, *profiles: Profile):
        records = [
            {
                **{"set": "table2", "network": f"small{i}", "rounds": 4},
                **{"graph": graph_to_dict(network()), "profile": profile_to_dict(profile)},
            }
            for i, profile in enumerate(profiles)
        ]
        shard = tmp_path / "networks.jsonl"
        shard.write_text("".join(json.dumps(record) + "\n" for record in records))
        save_platform_model(model(on_host), tmp_path / "told.strata")
        (tmp_path / "fit.json").write_text('{"mapping": []}')
        evaluate(shard, tmp_path / "told.strata", tmp_path / "fit.json", tmp_path)
        checks = {"networks": check_networks, "layers": check_layers}
        frames = {
            name: read_table(tmp_path / f"{name}.parquet", checks.get(name, lambda frame, _: frame))
            for name in ("networks", "layers", "refused")
        }
        return frames, capsys.readouterr().out

    return run


def one(frame: pd.DataFrame, **values) -> dict:
    for name, value in values.items():
        frame = frame[frame[name] == value]
    (row,) = frame.to_dict("records")
    return row


def test_a_layer_without_a_time_is_recorded_as_such(evaluated):
    frames, printed = evaluated(1.0, PROFILE)
    total = one(frames["networks"], mapping="predicted", kind="mixed")
    # the convolution's 2 ms of 4: a lower bound, which the row says
    assert (total["estimated_s"], total["untimed"]) == (pytest.approx(2e-3), 1)
    pooling = one(frames["layers"], mapping="predicted", kind="mixed", layer="pooling")
    assert isnan(pooling["estimated_s"])
    assert (pooling["status"], pooling["measured_s"]) == ("untimed", 1e-3)
    convolution = one(frames["layers"], mapping="predicted", kind="mixed", layer="convolution")
    assert (convolution["status"], convolution["estimated_s"]) == ("matched", pytest.approx(2e-3))
    # as it was executed, nothing is left to the host
    assert one(frames["networks"], mapping="oracle", kind="mixed")["untimed"] == 0
    executed = one(frames["layers"], mapping="oracle", kind="mixed", layer="pooling")
    assert executed["estimated_s"] == pytest.approx(1e-3)
    assert printed.splitlines() == [
        f"table2 {kind}: MAPE 50.0% on 1 networks, 1 incomplete: layers of unknown time"
        for kind in sorted(KINDS)
    ]


def test_where_all_times_are_known_nothing_is_said(evaluated):
    frames, printed = evaluated(0.0, PROFILE, PROFILE)
    assert set(frames["networks"]["untimed"]) == {0}
    assert set(frames["layers"]["status"]) == {"matched"}
    assert frames["layers"]["estimated_s"].notna().all()
    assert "table2 mixed: MAPE 25.0% on 2 networks\n" in printed


def test_a_network_measured_without_one_of_its_times_is_refused(evaluated):
    nodes = (NODES[0], replace(NODES[1], time_s=0.0, timed=False, placement="host"))
    frames, _ = evaluated(1.0, PROFILE, replace(PROFILE, nodes=nodes, time_s=3e-3))
    assert set(frames["networks"]["network"]) == {"small0"}
    (refused,) = frames["refused"].to_dict("records")
    assert refused["network"] == "small1"
    assert refused["reason"]
