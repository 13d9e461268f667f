"""What must hold for every layer model, whatever its parameters and its rows."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.equations import utilisation, utilisation_refined
from strata.execution import FEATURES
from strata.forest import Forest
from strata.layer_models import Mixed, Overlap, Refined, Roofline, Statistical, Unrolling

extents = st.integers(1, 4096)
counts = st.integers(0, 10**13)
peaks = st.floats(1e3, 1e16)
dimensions = st.lists(
    st.builds(
        Unrolling,
        st.sampled_from(("channels", "filters", "output_width", "output_height")),
        st.integers(1, 512),
        st.floats(0, 1),
    ),
    max_size=4,
).map(tuple)


@st.composite
def matrices(draw):
    rows = draw(st.integers(1, 5))
    cells = rows * len(FEATURES)
    matrix = np.array(draw(st.lists(extents, min_size=cells, max_size=cells)), dtype=float)
    matrix = matrix.reshape(rows, len(FEATURES))
    for name in ("ops", "bytes"):
        column = st.lists(counts, min_size=rows, max_size=rows)
        matrix[:, FEATURES.index(name)] = draw(column)
    return matrix


@st.composite
def stacks(draw):
    """A roofline, a refined roofline on it, and a mixed model on that; one statistical."""
    roofline = Roofline(draw(st.none() | peaks), draw(st.none() | peaks), draw(st.floats(1e-9, 1)))
    refined = Refined(roofline, draw(dimensions))
    # a hostile forest may hold logarithms above 0 or below what exp can show
    leaves = draw(st.tuples(st.floats(-2000, 2000), st.floats(-2000, 2000)))
    forest = Forest(
        feature=np.array([0, -1, -1]),
        threshold=np.array([draw(st.floats(0, 5000)), 0, 0]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        value=np.array([0.0, *leaves]),
        roots=np.array([0]),
    )
    name = draw(st.sampled_from(FEATURES))
    starts = draw(st.tuples(*(1 + len(refined.unrolling)) * [st.floats(0, 10)]))
    scales = draw(st.tuples(*5 * [st.floats(0, 10)]).filter(any))
    base = Overlap(refined, starts[0], starts[1:], *scales, draw(st.floats(1, 64)))
    mixed = Mixed(base, roofline, forest, (name,))
    statistical = Statistical(roofline, forest, (name,))
    return roofline, refined, statistical, mixed


@given(x=st.lists(extents, min_size=3, max_size=3), s=st.lists(extents, min_size=3, max_size=3))
def test_utilisation_is_a_share_and_full_on_multiples(x, s):
    assert 0 < utilisation(x, s) <= 1
    assert utilisation(np.multiply(x, s), s) == 1


@given(x=extents, s=extents, alphas=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_utilisation_grows_with_alpha(x, s, alphas):
    low, high = (utilisation_refined([x], [s], [alpha]) for alpha in sorted(alphas))
    assert 0 < utilisation([x], [s]) <= low <= high <= 1


@given(stack=stacks(), matrix=matrices())
@settings(max_examples=200)
def test_kinds_are_ordered_and_times_positive(stack, matrix):
    roofline, refined, statistical, mixed = (model.time_s(matrix) for model in stack)
    for times in (roofline, refined, statistical, mixed):
        assert times.shape == (len(matrix),)
        assert np.all(np.isfinite(times) & (times > 0))
    assert np.all(roofline <= refined)
    assert np.all(roofline <= mixed)  # a layer may escape the unrolling, never the roofline
    assert np.all(roofline <= statistical)


@given(stack=stacks(), matrix=matrices())
@settings(max_examples=200)
def test_efficiency_utilisation_and_bound_have_their_domains(stack, matrix):
    for model in stack:
        u, attained = model.efficiency(matrix), model.utilisation(matrix)
        assert np.all((u > 0) & (u <= 1))
        assert np.all((attained >= 0) & (attained <= 1))
        assert set(model.bound(matrix)) <= {"compute", "memory"}


@given(stack=stacks(), matrix=matrices())
def test_a_batch_equals_its_rows_and_inputs_stay_untouched(stack, matrix):
    before = matrix.copy()
    for model in stack:
        one_by_one = [model.time_s(row[None])[0] for row in matrix]
        assert np.array_equal(model.time_s(matrix), one_by_one)
    assert np.array_equal(matrix, before)


@given(stack=stacks(), matrix=matrices(), factor=st.floats(1, 100))
def test_roofline_time_grows_with_work(stack, matrix, factor):
    more = matrix.copy()
    work = [FEATURES.index("ops"), FEATURES.index("bytes")]
    more[:, work] *= factor
    has_work = matrix[:, work].all(axis=1)
    for model in stack[:2]:
        grown, before = model.time_s(more), model.time_s(matrix)
        assert np.all(grown[has_work] >= before[has_work])
