"""Pairs of layers with a known saving, measured with known noise: how often the test is right."""

import json

import numpy as np
import pandas as pd
import pytest

from model_gen.fusion_decisions import (
    LEAST_SAVING,
    LOOKS,
    SIGNIFICANCE,
    FusionDecision,
    Verdict,
    apply_decisions,
    decide,
    read_decisions,
    undecided,
    write_decisions,
)
from model_gen.mapping_fit import fit_mapping
from strata.edges import EDGE_FEATURES
from strata.errors import ArtefactError, FitError

PRODUCER_S, CONSUMER_S = 100e-6, 25e-6


def measured(saving, noise, generator, rounds=LOOKS[-1]):
    """Times of producer, consumer and both, (3, rounds): noise each, a slow drift in common."""
    true = np.array([PRODUCER_S, CONSUMER_S, PRODUCER_S + (1 - saving) * CONSUMER_S])
    drift = 1 + 0.05 * np.cumsum(generator.normal(0, 0.2, rounds))
    return true[:, None] * drift * np.exp(generator.normal(0, noise, (3, rounds)))


def sequential(times) -> Verdict:
    """As the command does: look, and go on while nothing is decided."""
    for look in LOOKS:
        verdict = decide(*times[:, :look])
        if verdict.flag != "POSSIBLY_FUSED":
            break
    return verdict


def flags(saving, noise, trials, seed=0):
    generator = np.random.default_rng(seed)
    return [sequential(measured(saving, noise, generator)).flag for _ in range(trials)]


@pytest.mark.parametrize(("saving", "truth"), [(0.0, "NOT_FUSED"), (2 / 3, "FUSED"), (1, "FUSED")])
def test_clear_pairs_are_decided_rightly_in_noise_of_a_percent(saving, truth):
    found = flags(saving, noise=0.01, trials=300)
    assert found.count(truth) >= 0.97 * len(found)
    wrong = len(found) - found.count(truth) - found.count("POSSIBLY_FUSED")
    assert wrong <= 2 * SIGNIFICANCE * len(found)


def test_at_the_limit_hardly_any_pair_is_called_fused_or_not():
    """The worst case of a wrong answer: each side at most as often as stated (600 trials)."""
    found = flags(LEAST_SAVING, noise=0.01, trials=600)
    sigma = np.sqrt(SIGNIFICANCE / 600)
    for side in ("FUSED", "NOT_FUSED"):
        assert found.count(side) / 600 <= SIGNIFICANCE + 3 * sigma


def test_noise_that_hides_the_consumer_leaves_it_open_and_says_so():
    generator = np.random.default_rng(1)
    verdicts = [sequential(measured(0.0, 0.2, generator)) for _ in range(100)]
    open_ones = [v for v in verdicts if v.flag == "POSSIBLY_FUSED"]
    assert len(open_ones) > 90
    assert sum(v.flag == "FUSED" for v in verdicts) <= 3
    for verdict in open_ones:
        assert verdict.rounds == LOOKS[-1]
        assert verdict.low <= LEAST_SAVING <= verdict.high
        assert "either side" in verdict.reason


def test_numbers_by_hand():
    """100 + 25 us apart, 105 together: 20 of the consumer's 25 us are saved, 0.8."""
    verdict = decide([100e-6] * 3, [25e-6] * 3, [105e-6] * 3)
    assert verdict.flag == "FUSED"
    assert verdict.saved == pytest.approx(0.8)
    assert (verdict.low, verdict.high) == pytest.approx((0.8, 0.8))
    assert decide([100e-6] * 3, [25e-6] * 3, [125e-6] * 3).flag == "NOT_FUSED"
    # a cache that saves a fifth of the consumer is no fusion
    assert decide([100e-6] * 3, [25e-6] * 3, [120e-6] * 3).flag == "NOT_FUSED"


def test_interval_by_hand():
    """Together 115, 117.5 and 120 us: savings 0.4, 0.3, 0.2; t(2) at 1 - 0.01/3 is 12.18."""
    verdict = decide([100e-6] * 3, [25e-6] * 3, [115e-6, 117.5e-6, 120e-6])
    assert verdict.flag == "POSSIBLY_FUSED"
    assert verdict.high - verdict.saved == pytest.approx(12.18 * 0.1 / np.sqrt(3), rel=0.01)


@pytest.mark.parametrize(
    "times",
    [([1.0], [1.0], [1.0]), ([1, 1], [1, 1], [1, 1, 1]), ([1, 1], [0, 1], [1, 1]), ([], [], [])],
)
def test_impossible_times_are_refused(times):
    with pytest.raises(FitError, match="fusion test"):
        decide(*times)


def rows(flags):
    table = pd.DataFrame(0.0, index=range(len(flags)), columns=list(EDGE_FEATURES))
    return table.assign(
        case_id=[f"case{i}" for i in range(len(flags))],
        role="fusion",
        producer="conv",
        consumer="sum",
        producer_operation="convolution",
        consumer_operation="add",
        flag=flags,
    )


def decision(case, flag):
    return FusionDecision(case, "conv", "sum", Verdict(flag, 0.7, 0.6, 0.8, 3, 1.0, 0.5, 1.1))


def test_decided_rows_are_learned_and_the_rest_is_listed_with_its_statistics():
    table = rows(["NOT_FUSED"] + ["POSSIBLY_FUSED"] * 4)
    decisions = [
        decision("case1", "FUSED"),
        decision("case2", "NOT_FUSED"),
        decision("case3", "POSSIBLY_FUSED"),
        decision("case0", "FUSED"),  # the profiler told of it: its word stands
    ]
    known, rest = apply_decisions(table, decisions)
    assert known["flag"].tolist() == [
        "NOT_FUSED",
        "FUSED",
        "NOT_FUSED",
        "POSSIBLY_FUSED",
        "POSSIBLY_FUSED",
    ]
    assert [row["case_id"] for row in rest] == ["case3", "case4"]
    assert (rest[0]["saved"], rest[0]["low"], rest[0]["high"]) == (0.7, 0.6, 0.8)
    assert rest[1]["reason"] == "not measured again"
    json.dumps(rest)
    networks = pd.DataFrame({"strides_moved": []})
    (score,) = fit_mapping(known, networks, seed=0)[1]
    assert (score.samples, score.undecided) == (3, 2)


def test_tables_of_old_without_the_layers_names_stay_undecided():
    table = rows(["POSSIBLY_FUSED"]).drop(columns=["producer", "consumer"])
    known, rest = apply_decisions(table, [decision("case0", "FUSED")])
    assert known["flag"].tolist() == ["POSSIBLY_FUSED"]
    assert rest[0]["reason"] == "not measured again"


def test_decisions_survive_their_file(tmp_path):
    path = tmp_path / "fusion_decisions.json"
    decisions = [decision("a", "FUSED"), FusionDecision("b", "p", "c", undecided("refused: no"))]
    write_decisions(decisions, path)
    assert read_decisions(path) == decisions


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": "other", "version": 1}', "\x00"])
def test_broken_files_are_one_line(tmp_path, text):
    path = tmp_path / "fusion_decisions.json"
    path.write_text(text)
    with pytest.raises(ArtefactError, match="not a file of fusion decisions") as caught:
        read_decisions(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ArtefactError, match="no such file"):
        read_decisions(tmp_path / "none.json")
