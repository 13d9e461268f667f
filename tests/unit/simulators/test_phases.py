"""The three-phase pipeline against schedules worked by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.phases import pipeline

durations = st.floats(min_value=0, max_value=10)
tiles = st.lists(st.tuples(durations, durations, durations), min_size=1, max_size=12)


def test_three_tiles_with_separate_ports():
    # loads end at 1, 2 and 4 (the third waits for tile 0's buffer, free at 3); computed at
    # 3, 5, 7; stored at 4, 6, 8
    times = pipeline([1, 1, 1], [2, 2, 2], [1, 1, 1], buffers=2, shared_port=False)
    assert times.total_s == 8
    assert (times.load_s, times.compute_s, times.store_s) == (3, 6, 3)


def test_a_shared_port_delays_the_load_behind_a_store():
    # port: load 0 [0,2], load 1 [2,4], store 0 [4,6] (computed at 3), load 2 [6,8],
    # store 1 [8,10], then computed at 9 and store 2 [10,12]
    assert pipeline([2, 2, 2], [1, 1, 1], [2, 2, 2], shared_port=True).total_s == 12
    # apart: loads end at 2, 4, 6; computed 3, 5, 7; stored 5, 7, 9
    assert pipeline([2, 2, 2], [1, 1, 1], [2, 2, 2], shared_port=False).total_s == 9


def test_one_buffer_does_not_overlap_load_and_computation():
    # load [0,1], compute [1,3], load [3,4], store 0 [4,4], compute [4,6]
    assert pipeline([1, 1], [2, 2], [0, 0], buffers=1).total_s == 6
    assert pipeline([1, 1], [2, 2], [0, 0], buffers=2).total_s == 5


def test_no_tile_takes_no_time():
    assert pipeline([], [], []).total_s == 0


def test_no_buffer_is_refused():
    with pytest.raises(ValueError, match="buffers is 0"):
        pipeline([1], [1], [1], buffers=0)


@given(tiles, st.integers(1, 3), st.booleans())
def test_between_the_busiest_phase_and_all_in_turn(rows, buffers, shared):
    load, compute, store = (list(phase) for phase in zip(*rows, strict=True))
    total = pipeline(load, compute, store, buffers, shared).total_s
    port = sum(load) + sum(store) if shared else max(sum(load), sum(store))
    assert total >= max(port, sum(compute)) - 1e-9
    assert total <= sum(load) + sum(compute) + sum(store) + 1e-9


@given(tiles, st.integers(0, 11), st.integers(0, 2), durations, st.booleans())
def test_a_longer_phase_never_ends_earlier(rows, place, phase, more, shared):
    before = [list(column) for column in zip(*rows, strict=True)]
    after = [list(column) for column in before]
    after[phase][place % len(rows)] += more
    assert pipeline(*after, shared_port=shared).total_s >= (
        pipeline(*before, shared_port=shared).total_s - 1e-9
    )


@given(tiles)
def test_more_buffers_never_end_later_with_separate_ports(rows):
    load, compute, store = (list(phase) for phase in zip(*rows, strict=True))
    two = pipeline(load, compute, store, 2, False).total_s
    assert two <= pipeline(load, compute, store, 1, False).total_s + 1e-9
