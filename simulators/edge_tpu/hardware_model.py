"""What describes an Edge TPU: the chip, and the set-up (host, link, clock) it is measured in."""

from functools import cached_property
from pathlib import Path

from pydantic import Field, model_validator

from simulators.hardware import Hardware, described, find_hardware, load_hardware

FOLDER = Path(__file__).parent / "hardware"


class EdgeTpu(Hardware):
    """Numbers of one Edge TPU in one set-up; bytes, seconds and cycles of `clock_hz`.

    A grid of `tile_rows` x `tile_columns` tiles shares the output map; in each tile `cells`
    compute one filter each and `macs_per_cell` input channels per cycle. A link or memory of
    0 bytes per second is absent.
    """

    # chip: compute
    tile_rows: int = Field(ge=1)
    tile_columns: int = Field(ge=1)
    cells: int = Field(ge=1)
    macs_per_cell: int = Field(ge=1)
    array_fill_cycles: int = Field(ge=0)
    depthwise_cycles_per_tap: float = Field(gt=0)
    pooling_cycles_per_tap: float = Field(gt=0)
    elementwise_cycles_per_vector: float = Field(gt=0)
    softmax_cycles_per_element: float = Field(gt=0)
    # chip: memories and buses
    tile_parameter_bytes: int = Field(ge=0)
    tile_activation_bytes: int = Field(gt=0)
    tile_stream_bytes: int = Field(gt=0)
    bias_bytes_per_filter: int = Field(ge=0)
    depthwise_bytes_per_tap: int = Field(ge=1)
    channel_multiple: int = Field(ge=1)
    cached_filter_multiple: int = Field(ge=1)
    streamed_filter_multiple: int = Field(ge=1)
    weight_bus_bytes_per_cycle: float = Field(gt=0)
    activation_bus_bytes_per_cycle: float = Field(gt=0)
    # chip: issue
    layer_start_cycles: float = Field(ge=0)
    border_exchange_cycles: float = Field(ge=0)
    instruction_bytes_per_layer: float = Field(ge=0)
    # set-up
    balanced_placement: int = Field(ge=0, le=1)
    clock_hz: float = Field(gt=0)
    dram_bytes_per_s: float = Field(ge=0)
    link_in_bytes_per_s: float = Field(ge=0)
    link_out_bytes_per_s: float = Field(ge=0)
    run_start_s: float = Field(ge=0)
    host_ops_per_s: float = Field(gt=0)
    host_bytes_per_s: float = Field(gt=0)
    host_layer_s: float = Field(ge=0)

    @model_validator(mode="after")
    def _has_memory(self) -> "EdgeTpu":
        if not self.stream_bytes_per_s:
            raise ValueError(
                "link_in_bytes_per_s and dram_bytes_per_s are both 0; legal: one of them above 0,"
                " or uncached parameters come from nowhere"
            )
        return self

    @cached_property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.tile_rows * self.tile_columns

    def padded(self, channels: int) -> int:
        """Channels as stored: whole blocks of the cells, or less than one in coarse steps."""
        whole = channels > self.cells
        multiple = self.cached_filter_multiple if whole else self.streamed_filter_multiple
        return -(-channels // multiple) * multiple

    @cached_property
    def peak_macs_per_s(self) -> float:
        """Multiply-accumulates per second with every cell busy."""
        return self.tiles * self.cells * self.macs_per_cell * self.clock_hz

    @cached_property
    def stream_bytes_per_s(self) -> float:
        """Where parameters that are not cached come from: the host link, else DRAM, else 0."""
        return self.link_in_bytes_per_s or self.dram_bytes_per_s


def hardware_names() -> tuple[str, ...]:
    """The shipped descriptions."""
    return described(FOLDER)


def load(name_or_path: str) -> EdgeTpu:
    """A shipped description by name, or any by path; SchemaError lists what there is."""
    return find_hardware(
        FOLDER, name_or_path, lambda path: load_hardware(EdgeTpu, path), "edge_tpu"
    )
