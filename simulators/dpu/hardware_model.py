"""What a hardware description of a DPUCZDX8G says: array, memories, ports, start-up costs, limits.

Micro-architecture: product guide PG338 (DPUCZDX8G), operator limits: UG1414 of the same releases.
Sources of the numbers stand beside them in hardware/*.yaml.
"""

from functools import cached_property
from pathlib import Path

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from simulators.hardware import Hardware, described, find_hardware, load_hardware

_FOLDER = Path(__file__).parent / "hardware"


class Dpu(Hardware):
    """One DPU core of a board image, the memory it shares and the Arm cores beside it."""

    # convolution array: per cycle pixel x input channel x output channel products
    pixel_parallel: PositiveInt
    channel_parallel: PositiveInt
    filter_parallel: PositiveInt
    alu_pixel_parallel: PositiveInt  # depthwise, pooling, elementwise
    clock_hz: PositiveFloat

    # on-chip memory: words of `channel_parallel` bytes
    bank_words: PositiveInt
    image_banks: PositiveInt  # of one bank group; inputs have one group, outputs another
    augmented_channels: int = Field(ge=0)  # images of at most so many channels are augmented

    # ways to memory, of one core
    cores: PositiveInt
    active_cores: PositiveInt
    port_bytes: PositiveInt  # per cycle, all data ports of a core
    dram_bytes_per_s: PositiveFloat  # all cores together
    read_bytes_per_s: PositiveFloat  # one core alone
    write_bytes_per_s: PositiveFloat  # one core alone
    transfer_start_s: NonNegativeFloat  # per load instruction, not hidden by the next

    # start-up costs
    convolution_start_cycles: NonNegativeFloat  # per convolution instruction
    alu_start_cycles: NonNegativeFloat  # per instruction of the other engine
    node_start_s: NonNegativeFloat  # per node of the executable graph
    run_start_s: NonNegativeFloat  # per inference
    input_element_s: NonNegativeFloat  # per element of the network's input, scaled by the host

    # the Arm cores, for layers left to them
    host_start_s: NonNegativeFloat
    host_macs_per_s: PositiveFloat
    host_operations_per_s: PositiveFloat
    host_bytes_per_s: PositiveFloat

    # what the instruction set can express
    kernel_limit: PositiveInt
    stride_limit: PositiveInt
    pooling_kernel_limit: PositiveInt
    channel_groups_limit: PositiveInt  # channels per tensor, in units of channel_parallel

    @model_validator(mode="after")
    def _consistent(self) -> "Dpu":
        if self.active_cores > self.cores:
            raise ValueError(f"active_cores is {self.active_cores}; legal: 1 to {self.cores}")
        if self.alu_pixel_parallel > self.pixel_parallel:
            raise ValueError(
                f"alu_pixel_parallel is {self.alu_pixel_parallel}; "
                f"legal: 1 to pixel_parallel, {self.pixel_parallel}"
            )
        return self

    @cached_property
    def peak_macs_per_s(self) -> float:
        """Multiply-accumulates per second of the convolution array."""
        return self.pixel_parallel * self.channel_parallel * self.filter_parallel * self.clock_hz

    @cached_property
    def image_words(self) -> int:
        """Words that the bank group for inputs holds."""
        return self.image_banks * self.bank_words

    @cached_property
    def read_rate(self) -> float:
        """Bytes per second that one core reads while `active_cores` of them run."""
        return min(self.read_bytes_per_s, self._limit)

    @cached_property
    def write_rate(self) -> float:
        """Bytes per second that one core writes while `active_cores` of them run."""
        return min(self.write_bytes_per_s, self._limit)

    @cached_property
    def dram_share(self) -> float:
        """Bytes per second of memory for each of the `active_cores`."""
        return self.dram_bytes_per_s / self.active_cores

    @cached_property
    def _limit(self) -> float:
        return min(self.port_bytes * self.clock_hz, self.dram_share)


def hardware_names() -> tuple[str, ...]:
    """Names of the descriptions that `load` knows."""
    return described(_FOLDER)


def load(name: str) -> Dpu:
    """A shipped description by its name, or any by the path of its YAML file."""
    return find_hardware(_FOLDER, str(name), _read, "dpu")


def _read(path: Path) -> Dpu:
    return load_hardware(Dpu, path)
