"""Tilings against plans of the NCS2's compiler, read from its dumps, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_gen.overlap_fit import MYRIAD_X, MYRIAD_X_AVERAGES
from strata.blocking import BLOCK_NAMES, CUT_NAMES, ENGINE_TERMS, START_TERMS, block_terms
from strata.errors import SchemaError
from strata.execution import FEATURES
from strata.layer import OPERATIONS


def layer(
    size: tuple[int, int],
    channels: int,
    filters: int,
    made: tuple[int, int],
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    reads_input: int = 0,
    before: str = "",
    after: str = "",
) -> np.ndarray:
    """A feature matrix of one convolution: (1, len(FEATURES)). `before` and `after` are the
    operations of the layer that alone it reads and of the one that alone reads it."""
    macs = made[0] * made[1] * filters * channels // groups * kernel**2
    values = {
        "batch": 1,
        "height": size[0],
        "width": size[1],
        "channels": channels,
        "filters": filters,
        "output_height": made[0],
        "output_width": made[1],
        "kernel_height": kernel,
        "kernel_width": kernel,
        "stride_height": stride,
        "stride_width": stride,
        "dilation": dilation,
        "groups": groups,
        "reads_input": reads_input,
        "macs": macs,
        "weight_elements": filters * channels // groups * kernel**2,
        "chain_before": before != "",
        "previous_operation": 1 + OPERATIONS.index(before) if before else 0,
        "chain_after": after != "",
        "following_operation": 1 + OPERATIONS.index(after) if after else 0,
    }
    return np.array([[values.get(name, 0.0) for name in FEATURES]], dtype=float)


def terms(*args, blocking=MYRIAD_X, **kwargs) -> dict[str, float]:
    found = block_terms(layer(*args, **kwargs), blocking)
    return dict(zip(BLOCK_NAMES, found[0].tolist(), strict=True))


# size, channels, filters, output, kernel, stride, groups; the compiler's stages, cycles times
# pixels, passes times pixels, passes times rows, block, and parts of channels, height and width
PLANS = [
    ((37, 37), 48, 64, (37, 37), 3, 1, 1, (1, 162911, 1369, 37, 4, 1, 1, 1)),
    ((28, 28), 56, 72, (28, 28), 3, 1, 1, (1, 192864, 2352, 84, 8, 1, 1, 1)),
    ((77, 77), 32, 16, (77, 77), 1, 1, 1, (1, 112651, 5929, 77, 4, 1, 1, 1)),
    ((1, 1), 3680, 460, (1, 1), 1, 1, 1, (2, 7470, 30, 30, 8, 2, 1, 1)),
    ((19, 27), 712, 224, (19, 27), 5, 1, 1, (5, 9192960, 35910, 1330, 16, 5, 1, 1)),
    ((46, 47), 472, 460, (46, 47), 3, 1, 1, (30, 33486184, 201724, 4292, 16, 2, 15, 1)),
    ((112, 143), 184, 192, (112, 143), 1, 1, 1, (12, 2738736, 48048, 672, 4, 1, 6, 2)),
    ((163, 163), 56, 62, (163, 163), 5, 1, 1, (15, 11876292, 61218, 1074, 8, 1, 5, 3)),
    ((369, 369), 72, 128, (185, 185), 3, 2, 1, (18, 12293380, 71060, 1140, 4, 1, 6, 3)),
    ((425, 425), 3, 48, (213, 213), 3, 2, 1, (8, 937200, 46860, 220, 4, 1, 8, 1)),
    ((5, 5), 88, 88, (3, 3), 3, 2, 8, (8, 2664, 72, 24, 8, 1, 1, 1)),
]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: str(plan[:7]))
def test_layers_are_cut_as_the_compiler_cuts_them(plan):
    size, channels, filters, made, kernel, stride, groups, expected = plan
    found = terms(size, channels, filters, made, kernel, stride, groups)
    names = ("stages", "block_cycles", "pass_pixels", "pass_rows", *CUT_NAMES)
    assert tuple(found[name] for name in names) == expected
    assert found["unblocked_macs"] == 0


def test_terms_of_a_layer_in_one_stage_by_hand():
    # 48 channels in 12 blocks of 4: 12 * 9 + 11 cycles a pixel, 64 filters at once; 3 + 1 + 2 rows
    # of 37 values, padded to 80 bytes, of every channel wait before the first pixel
    found = terms((37, 37), 48, 64, (37, 37), 3)
    assert found["block_cycles"] == 119 * 37 * 37
    assert found["first_bytes"] == 48 * 6 * 80
    assert found["stage_weights"] == 64 * 48 * 9
    assert found["summed_elements"] == found["copied_elements"] == 0


def test_inputs_come_from_afar_where_they_are_the_networks_or_too_large():
    near = terms((37, 37), 48, 64, (37, 37), 3)
    far = terms((37, 37), 48, 64, (37, 37), 3, reads_input=1)
    assert near["far_first_bytes"] == near["far_bytes"] == far["first_bytes"] == 0
    assert far["far_first_bytes"] == near["first_bytes"]
    assert far["far_bytes"] == 48 * 37 * 80
    # 17 rows of 17 values, padded to 48 bytes: 722 channels fill half of the chip's memory
    assert terms((17, 17), 722, 64, (17, 17), 1)["far_bytes"] == 0
    assert terms((17, 17), 723, 64, (17, 17), 1)["far_bytes"] > 0


def test_parts_of_the_channels_leave_less_room_for_the_input():
    """Fourteen rows of 14 values, padded to 32 bytes. The output of 1,024 filters takes 458,752 of
    1,179,648 bytes, twice where a third part is added to the sum of two: YOLOv2's head is read
    from DDR in the compiler's plan. With half of the filters, or fewer parts, there is room."""
    head = terms((14, 14), 1024, 1024, (14, 14), 3)
    assert (head["channel_parts"], head["far_bytes"] > 0) == (3, True)
    half = terms((14, 14), 1024, 512, (14, 14), 3)
    assert (half["channel_parts"], half["far_bytes"]) == (3, 0)
    two = terms((13, 13), 480, 1264, (13, 13), 3)
    assert (two["channel_parts"], two["far_bytes"]) == (2, 0)
    one = terms((14, 14), 1024, 1024, (14, 14), 1)
    assert (one["channel_parts"], one["far_bytes"]) == (1, 0)


def test_parts_of_the_channels_are_added_up_and_strips_read_all_weights():
    parts = terms((1, 1), 3680, 460, (1, 1), 1)
    assert parts["summed_elements"] == 2 * 460
    assert parts["stage_weights"] == 3680 * 460
    strips = terms((425, 425), 3, 48, (213, 213), 3, 2)
    assert strips["stage_weights"] == 8 * 48 * 3 * 9


def test_tiles_of_a_large_output_are_copied_to_where_it_lies_by_hand():
    # 62 filters of 163 x 163 do not fit the chip: all of them leave it, and 969,822 elements of
    # tiles that do not begin at a multiple of 16 bytes are copied before that
    found = terms((163, 163), 56, 62, (163, 163), 5)
    assert found["copied_elements"] == 62 * 163 * 163 + 969822
    assert terms((37, 37), 48, 64, (37, 37), 3)["copied_elements"] == 0


@pytest.mark.parametrize(
    "what",
    [
        {"dilation": 2},
        {"made": (61, 61)},  # more than it reads
        {"kernel": 17},  # 289 steps for a single block
    ],
)
def test_what_the_engine_cannot_do_is_left_to_others(what):
    given = {"size": (30, 30), "channels": 8, "filters": 8, "made": (30, 30), "kernel": 3} | what
    found = terms(**given)
    assert found["unblocked_macs"] == layer(**given)[0, FEATURES.index("macs")]
    assert found["software_stages"] == 1
    assert sum(found.values()) == found["unblocked_macs"] + 1


# side, channels, filters, output, kernel, stride; the compiler's stages and cycles times pixels
FIXED = [
    (28, 512, 512, 28, 3, 1, (3, 8166144)),
    (56, 256, 256, 56, 3, 1, (4, 8470784)),
    (224, 64, 64, 224, 3, 1, (9, 8057520)),
    (17, 1088, 192, 17, 1, 1, (2, 254898)),
    (35, 384, 384, 17, 3, 2, (2, 1692384)),
    (128, 256, 256, 128, 1, 1, (36, 4194304)),
]


@pytest.mark.parametrize("plan", FIXED, ids=lambda plan: str(plan[:4]))
def test_shapes_with_tiles_of_their_own_are_cut_so(plan):
    side, channels, filters, made, kernel, stride, expected = plan
    args = (side, side), channels, filters, (made, made), kernel, stride
    found = terms(*args)
    assert (found["stages"], found["block_cycles"]) == expected
    other = terms(*args, blocking=replace(MYRIAD_X, fixed=()))
    assert (other["stages"], other["block_cycles"]) != expected


def test_a_tile_of_its_own_that_does_not_fit_leaves_the_layer_to_others():
    # two parts of 544 channels of 3x3 take 306 steps; nothing else is tried
    found = terms((17, 17), 1088, 192, (17, 17), 3)
    assert found["stages"] == 0
    assert found["unblocked_macs"] > 0


def pooling(
    size: tuple[int, int],
    channels: int,
    made: tuple[int, int],
    kernel: int,
    stride: int = 1,
    uneven: int = 0,
    before: str = "reorder",
) -> np.ndarray:
    """A feature matrix of one pooling behind a layer that it alone reads: (1, len(FEATURES))."""
    matrix = layer(size, channels, channels, made, kernel, stride, before=before)
    window = made[0] * made[1] * channels * kernel**2
    changes = {"macs": 0, "weight_elements": 0, "ops": window, "uneven_padding": uneven}
    for name, value in changes.items():
        matrix[:, FEATURES.index(name)] = value
    return matrix


def pooled(*args, blocking=MYRIAD_X, **kwargs) -> dict[str, float]:
    found = block_terms(pooling(*args, **kwargs), blocking)
    return dict(zip(BLOCK_NAMES, found[0].tolist(), strict=True))


# size, channels, output, kernel, stride, whether padded unevenly, and what it alone reads; the
# stages in the compiler's plan, and the elements that it copies there
POOLINGS = [
    ((28, 28), 192, (28, 28), 3, 1, 0, "concat", (1, 0)),  # InceptionV1, mixed_3a
    ((112, 112), 64, (56, 56), 3, 2, 1, "reorder", (10, 0)),  # its first, without the convolution
    ((32, 32), 128, (32, 32), 3, 1, 0, "add", (3, 131072)),  # NASBench-101
    ((16, 16), 256, (16, 16), 3, 1, 0, "add", (1, 0)),
    ((35, 35), 192, (35, 35), 3, 1, 0, "concat", (3, 235200)),  # InceptionV3
    ((147, 147), 64, (73, 73), 3, 2, 0, "concat", (2, 341056)),
    ((147, 148), 64, (73, 73), 3, 2, 0, "concat", (3, 341056)),  # not rounded up: by the source
    ((128, 256), 64, (64, 128), 3, 2, 1, "reorder", (28, 524288)),  # an FPN
    ((448, 448), 32, (224, 224), 2, 2, 0, "activation", (6, 1605632)),  # YOLOv2
    ((52, 52), 128, (26, 26), 2, 2, 0, "activation", (1, 0)),  # tiny YOLOv3
]


# the same behind a convolution that is cut with it: whether its parts are copied to where they are
# joined is not known
BEHIND = [
    ((56, 56), 192, (28, 28), 3, 2, 1, 9),  # InceptionV1
    ((71, 71), 192, (35, 35), 3, 2, 0, 6),  # InceptionV3
    ((55, 55), 96, (27, 27), 3, 2, 0, 3),  # AlexNet
]


@pytest.mark.parametrize("plan", BEHIND, ids=lambda plan: str(plan[:6]))
def test_poolings_are_cut_with_the_convolution_before_them(plan):
    *args, stages = plan
    assert pooled(*args, before="convolution")["stages"] == stages
    assert pooled(*args)["stages"] < stages


@pytest.mark.parametrize("plan", POOLINGS, ids=lambda plan: str(plan[:7]))
def test_poolings_are_cut_as_the_compiler_cuts_them(plan):
    *args, expected = plan
    found = pooled(*args)
    assert (found["stages"], found["copied_elements"]) == expected
    assert found["software_stages"] == found["first_bytes"] == found["stage_weights"] == 0


def test_terms_of_a_pooling_in_one_stage_by_hand():
    # 200 channels in 13 passes of 16; a window of 9 values an output; 16 values a row are 32 bytes
    found = pooled((16, 16), 200, (16, 16), 3)
    assert found["pass_pixels"] == 13 * 16 * 16
    assert found["block_cycles"] == 9 * 13 * 16 * 16
    assert found["pass_rows"] == 13 * 16
    assert found["far_bytes"] == 0
    matrix = pooling((16, 16), 200, (16, 16), 3)
    matrix[:, FEATURES.index("reads_input")] = 1
    far = dict(zip(BLOCK_NAMES, block_terms(matrix, MYRIAD_X)[0], strict=True))
    assert far["far_bytes"] == 200 * 16 * 32


def test_parts_of_a_width_are_read_with_the_rows_they_lie_in():
    # 12 parts of 180 columns each read whole rows of 368 bytes, five times 17 to 37 of 80 channels
    found = pooled((180, 180), 80, (90, 90), 3, 2, 1)
    assert (found["height_parts"], found["width_parts"]) == (5, 12)
    rows = found["far_bytes"] / (80 * 12 * 368)
    assert rows == 180 + 4  # tiles share a row


def test_a_convolution_is_cut_together_with_the_pooling_behind_it():
    """InceptionV1's stem and InceptionV3's: in the plans three and six stages of 64 and 32 filters
    each, so that what lies between stays on the chip."""
    args = (56, 56), 64, 192, (56, 56), 3
    assert terms(*args)["stages"] == 4
    assert terms(*args)["copied_elements"] > 0
    split = terms(*args, after="max_pooling")
    assert (split["stages"], split["copied_elements"]) == (3, 0)
    assert split["stage_weights"] == 64 * 192 * 9
    assert terms((73, 73), 80, 192, (71, 71), 3, after="max_pooling")["stages"] == 6
    # a small one, and one whose filters no part divides, are cut as ever
    small = (16, 16), 64, 64, (16, 16), 3
    odd = (56, 56), 64, 200, (56, 56), 3
    for each in (small, odd):
        assert terms(*each, after="max_pooling") == terms(*each)


def test_paddings_that_the_engine_does_not_do_are_copies_of_their_own():
    # even windows on odd sizes, and beyond half a window; the copy is a stage of software
    even = pooled((35, 35), 175, (18, 18), 2, 2, 1)
    assert (even["padded_elements"], even["software_stages"]) == (175 * 36 * 36, 1)
    # four parts of 128 channels, each of which is padded, as in the plan of this layer
    beyond = pooled((28, 28), 512, (14, 14), 4, 2, before="convolution")
    assert (beyond["stages"], beyond["software_stages"]) == (4, 4)
    assert beyond["padded_elements"] == 512 * 30 * 30
    assert pooled((112, 112), 64, (56, 56), 3, 2, 1)["padded_elements"] == 0
    # of a convolution whatever is not padded alike on both sides
    matrix = layer((112, 112), 8, 8, (56, 56), 3, 2)
    assert block_terms(matrix, MYRIAD_X)[0, BLOCK_NAMES.index("padded_elements")] == 0
    matrix[:, FEATURES.index("uneven_padding")] = 1
    found = block_terms(matrix, MYRIAD_X)[0, BLOCK_NAMES.index("padded_elements")]
    assert found == 8 * 113 * 113


@pytest.mark.parametrize(
    ("args", "maximum", "average"),
    [
        (((15, 15), 80, (8, 8), 3, 2), False, True),
        (((15, 15), 80, (8, 8), 2, 2, 1), False, True),
        (((15, 15), 80, (7, 7), 2, 2), True, True),  # it would count 8
        (((14, 14), 80, (14, 14), 1, 1), False, True),
        (((5, 5), 80, (5, 5), 3, 1), False, True),  # padded, and few outputs
        (((5, 5), 80, (3, 3), 3, 1), False, False),
        (((8, 8), 2560, (4, 4), 2, 2), True, True),
        (((16, 16), 80, (8, 8), 2, 2), False, False),
        (((40, 40), 80, (25, 25), 16, 1), True, True),
        (((90, 90), 80, (10, 10), 9, 9), True, True),
        (((828, 40), 8, (414, 20), 2, 2), True, True),
        (((828, 40), 8, (276, 13), 3, 3), False, False),
    ],
)
def test_windows_that_the_engine_does_not_take_run_in_software(args, maximum, average):
    for blocking, software in ((MYRIAD_X, maximum), (MYRIAD_X_AVERAGES, average)):
        found = pooled(*args, blocking=blocking)
        assert (found["stages"] == 0) == software
        ops = pooling(*args)[0, FEATURES.index("ops")]
        assert found["unblocked_macs"] == (ops if software else 0)


@given(
    size=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    channels=st.integers(0, 300),
    made=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    kernel=st.integers(0, 17),
    stride=st.integers(0, 9),
    uneven=st.integers(0, 2),
    before=st.sampled_from(["concat", "convolution"]),
)
def test_terms_of_any_pooling_are_numbers_of_at_least_nothing(
    size, channels, made, kernel, stride, uneven, before
):
    sizes = size, channels, made, kernel, stride, uneven, before
    for blocking in (MYRIAD_X, MYRIAD_X_AVERAGES):
        found = block_terms(pooling(*sizes), blocking)
        assert np.isfinite(found).all()
        assert (found >= 0).all()


def test_an_engine_without_a_rule_for_poolings_does_none():
    found = pooled((28, 28), 192, (28, 28), 3, blocking=replace(MYRIAD_X, pooling=None))
    assert found["stages"] == 0
    assert found["software_stages"] == 1


def test_rows_do_not_depend_on_their_neighbours():
    layers = [layer(*plan[:7]) for plan in PLANS]
    together = block_terms(np.concatenate(layers), MYRIAD_X)
    assert np.array_equal(together, np.concatenate([block_terms(one, MYRIAD_X) for one in layers]))
    assert block_terms(layers[0][:0], MYRIAD_X).shape == (0, len(BLOCK_NAMES))


def test_smaller_memories_cut_finer():
    small = replace(MYRIAD_X, tile_bytes=MYRIAD_X.tile_bytes // 2)
    args = (56, 56), 64, 256, (56, 56), 3
    assert terms(*args, blocking=small)["height_parts"] > terms(*args)["height_parts"]


@pytest.mark.parametrize(
    "bad", [{"tile_bytes": 0}, {"multipliers": 2.5}, {"pass_cycles": ()}, {"row_bytes": True}]
)
def test_sizes_are_whole_and_positive(bad):
    with pytest.raises(SchemaError, match=next(iter(bad))):
        replace(MYRIAD_X, **bad)
    limits = MYRIAD_X.pooling
    for wrong in ({"channels": 0}, {"split_filters": (64, 0)}, {"plane_bytes": 2.5}):
        with pytest.raises(SchemaError, match=next(iter(wrong))):
            replace(limits, **wrong)
    with pytest.raises(SchemaError, match="pairs of whole numbers"):
        replace(limits, refused=((3,),))
    with pytest.raises(SchemaError, match="rows=-1"):
        replace(MYRIAD_X.fixed[0], rows=-1)


def test_images_of_a_batch_come_one_after_the_other():
    one = layer((37, 37), 48, 64, (37, 37), 3)
    three = one.copy()
    three[:, FEATURES.index("batch")] = 3
    single, batch = (
        dict(zip(BLOCK_NAMES, block_terms(each, MYRIAD_X)[0], strict=True)) for each in (one, three)
    )
    for name in {*START_TERMS, *ENGINE_TERMS} - {"unblocked_macs"}:
        assert batch[name] == 3 * single[name]
    for name in CUT_NAMES:
        assert batch[name] == single[name]
