"""What a description of a Myriad X stick says: engine, memories, copies, vector cores, link.

The plan itself (tiling modes, descriptors, where operands lie) is the compiler's and needs no
number here. Sources of the numbers stand beside them in hardware/*.yaml.
"""

from pathlib import Path

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from simulators.hardware import Hardware, described, find_hardware, load_hardware

_FOLDER = Path(__file__).parent / "hardware"


class Ncs2(Hardware):
    """One executor of a Myriad X: a neural compute engine, its share of CMX and of the SHAVEs."""

    # neural compute engine; cycles are of this clock
    clock_hz: PositiveFloat
    stage_start_s: NonNegativeFloat  # per stage that the engine runs
    pixel_cycles: NonNegativeFloat  # per output pixel of a descriptor, beside the compiler's cost
    row_cycles: NonNegativeFloat  # per output row of a descriptor
    pool_descriptor_cycles: NonNegativeFloat
    pool_pixel_cycles: NonNegativeFloat  # per output pixel of a descriptor
    maximum_tap_cycles: NonNegativeFloat  # per element of the window and output pixel
    average_tap_cycles: NonNegativeFloat

    memory_bytes: PositiveInt  # DDR in the package: a larger network cannot be loaded

    # the engine's ways to memory
    weight_bytes_per_s: PositiveFloat
    cmx_bytes_per_s: PositiveFloat
    ddr_bytes_per_s: PositiveFloat
    ddr_row_s: NonNegativeFloat  # per row of a channel
    # rows that must be there before the first pixel, beside those of the kernel and its stride
    ahead_rows: NonNegativeInt
    narrow_columns: NonNegativeInt  # inputs up to this wide need more,
    narrow_rows: NonNegativeInt  # by so many

    # copies by the DMA engine
    copy_start_s: NonNegativeFloat
    copy_row_s: NonNegativeFloat
    copy_bytes_per_s: PositiveFloat

    # stages in software on the SHAVE cores
    software_start_s: NonNegativeFloat
    injected_software_s: NonNegativeFloat  # by which software holds up the stage it runs beside
    convert_start_s: NonNegativeFloat  # to or from the host's precision
    convert_cycles: PositiveFloat  # per element and SHAVE, all below
    elementwise_cycles: PositiveFloat  # sums, products, maxima, scales and shifts
    activation_cycles: PositiveFloat  # rectifiers, clamps, padding: values that pass through
    function_cycles: PositiveFloat  # functions with an exponential: sigmoid, swish, tanh, ...
    softmax_cycles: PositiveFloat
    resize_cycles: PositiveFloat
    permute_cycles: PositiveFloat
    other_cycles: PositiveFloat
    tap_cycles: PositiveFloat  # per multiply-accumulate or window element done in software

    # per inference
    run_start_s: NonNegativeFloat
    link_bytes_per_s: PositiveFloat
    link_input_bytes: PositiveFloat  # per element: the host sends 8-bit images
    link_output_bytes: PositiveFloat


def hardware_names() -> tuple[str, ...]:
    """Names of the descriptions that `load` knows."""
    return described(_FOLDER)


def load(name: str) -> Ncs2:
    """A shipped description by its name, or any by the path of its YAML file."""
    return find_hardware(_FOLDER, str(name), _read, "ncs2")


def _read(path: Path) -> Ncs2:
    return load_hardware(Ncs2, path)
