"""Plans written by hand, in the compiler's own terms, and a machine of round numbers."""

from simulators import ncs2
from simulators.ncs2.plan import Operand, Plan, Stage

# a cycle is 1 ns, a byte of weights 1 ns, a byte of DDR 0.5 ns, a byte of a copy 0.25 ns
ROUND = ncs2.load("myriad_x_ncs2").changed(
    clock_hz=1e9,
    stage_start_s=1e-6,
    pixel_cycles=10,
    row_cycles=100,
    pool_descriptor_cycles=200,
    pool_pixel_cycles=4,
    maximum_tap_cycles=1,
    average_tap_cycles=2,
    weight_bytes_per_s=1e9,
    cmx_bytes_per_s=1e18,
    ddr_bytes_per_s=2e9,
    ddr_row_s=10e-9,
    copy_start_s=2e-6,
    copy_row_s=20e-9,
    copy_bytes_per_s=4e9,
    software_start_s=20e-6,
    injected_software_s=5e-6,
    convert_start_s=30e-6,
    convert_cycles=2,
    elementwise_cycles=3,
    activation_cycles=1,
    function_cycles=8,
    softmax_cycles=50,
    other_cycles=4,
    tap_cycles=0.5,
    run_start_s=1e-3,
    link_bytes_per_s=1e8,
    link_input_bytes=1,
    link_output_bytes=4,
)


def tensor(shape, location="CMX", usage="Intermediate", name="tensor"):
    """FP16 of shape (channels, height, width), rows aligned to 16 bytes."""
    channels, height, width = shape
    row = -(-2 * width // 16) * 16
    dims = {"W": width, "H": height, "C": channels, "N": 1}
    plane = height * row
    strides = {"W": 2, "H": row, "C": plane, "N": channels * plane}
    return Operand(name, usage, "FP16", dims, strides, location)


def weights(count):
    """`count` bytes of weights."""
    return Operand("weights", "Const", "FP16", {"C": count // 2}, {"C": 2}, "Blob")


def convolution(
    source,
    target,
    *,
    cost,
    descriptors=1,
    weight_bytes=0,
    kernel=1,
    stride=1,
    pool=None,
    name="convolution",
    execution=0,
):
    """A CONV stage, or a CONV_POOL one; `cost` is of all descriptors, as the compiler prints it."""
    attributes = {
        "hwOpType": "CONV_POOL" if pool else "CONV",
        "kernelSizeX": kernel,
        "kernelSizeY": kernel,
        "kernelStride": stride,
        "tiling": {"mode": "MODE_4_64", "numDescr": descriptors, "cost": cost},
    }
    if pool:
        attributes |= {"poolKernelSizeX": pool, "poolKernelSizeY": pool}
    inputs = (source, weights(weight_bytes)) if weight_bytes else (source,)
    return Stage(
        execution, name, "MyriadXHwOp", name, "Convolution", 0, attributes, inputs, (target,)
    )


def pooling(source, target, *, kind, kernel, descriptors, name="pooling", execution=0):
    attributes = {
        "hwOpType": "POOL",
        "poolType": kind,
        "kernelSizeX": kernel,
        "kernelSizeY": kernel,
        "tiling": {"mode": "MODE_16_16", "numDescr": descriptors},
    }
    return Stage(
        execution, name, "MyriadXHwOp", name, "Pooling", 0, attributes, (source,), (target,)
    )


def other(kind, inputs, outputs, *, shaves=0, name="", execution=0, host=None, **attributes):
    """A copy, or a stage in software."""
    return Stage(
        execution,
        name or kind.lower(),
        kind,
        name or kind.lower(),
        kind,
        shaves,
        attributes,
        tuple(inputs),
        tuple(outputs),
        host,
    )


def times(*stages, hardware=ROUND):
    """Seconds of stages that make a plan."""
    return ncs2.stage_times(Plan("by hand", stages), hardware)
