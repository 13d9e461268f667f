"""What one run of the pipeline measures, fits and evaluates: the schema of `config/*.yaml`.

`python -m benchmark.config > config/schema.json` writes the JSON schema that editors read.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from graph_gen.keras_networks import KERAS_NETWORKS
from graph_gen.zoo import ZOO
from model_gen.learner import Learner
from strata.errors import SchemaError, legal
from strata.yaml_file import Section, read_yaml, validate

MicroKernel = Literal[
    "convolution",
    "depthwise_convolution",
    "transposed_convolution",
    "max_pooling",
    "average_pooling",
    "dense",
    "add",
    "concat",
]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_\-]*$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Whole = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class Measurement(Section):
    """How one point is measured, and into how many jobs the points are cut."""

    repeats: Whole = Field(default=20, description="timed runs per graph (ANNETTE, section 4)")
    warmup: Count = Field(default=2, description="untimed runs before them")
    device_share: Annotated[float, Field(ge=0, le=0.9)] = Field(
        default=0.65,
        description="run a graph more often until the device had this share of its time",
    )
    time_limit_s: Seconds = Field(
        default=60.0, description="a point that takes longer is a refusal"
    )
    sweep_chunks: Whole = Field(default=1, description="jobs the sweep phase is cut into")
    sample_chunks: Whole = Field(default=1, description="jobs the sample phase is cut into")
    round_chunks: Whole = Field(default=1, description="jobs every round is cut into")


class Range(Section):
    """An arithmetic progression of settings; `stop` belongs to it when a step lands on it."""

    start: Whole
    stop: Whole
    step: Whole = 1

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"stop should be at least start, {self.start}")
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """The settings, ascending."""
        return tuple(range(self.start, self.stop + 1, self.step))


class Sweep(Section):
    """Each parameter is swept over its range at every point, the others staying at the point."""

    points: list[dict[str, int | str]] = Field(min_length=1, description="complete settings rows")
    parameters: dict[str, Range] = Field(min_length=1, description="setting -> range")


class Sampling(Section):
    """How sample points are drawn, for all benchmarks alike (ANNETTE, section 5.1.2)."""

    draw: Literal["shapes", "distribution", "both"] = Field(
        default="shapes",
        description="micro-kernels' shapes by rules of thumb, near the layers of real networks, "
        "or each point one or the other",
    )
    data_set: Literal["aligned", "noisy", "union", "base"] = Field(
        default="union",
        description="1 aligned: utilisation 1; 2 noisy: Gaussian noise added; 3 union of both; "
        "base: as drawn, whatever the fitted unrolling",
    )
    noisy_share: Share = Field(default=0.5, description="share of noisy points in the union")
    noise: float = Field(
        default=0.5, ge=0, description="standard deviation of the noise, as share of s"
    )
    aligned_channels: Share = Field(
        default=0.94, description="share of channel counts divisible by 8"
    )
    heavy_share: Share = Field(
        default=0.0, description="share of convolutions as large as detectors' and VGG's"
    )
    grouped_share: Share = Field(
        default=0.0, description="share of grouped convolutions among those drawn by rules of thumb"
    )
    macs_limit: Whole = Field(default=350_000_000, description="most MACs of one kernel")
    network_macs_limit: Whole = Field(default=2_000_000_000, description="most MACs of one network")
    elements_limit: Whole = Field(default=4_000_000, description="most elements of one tensor")
    weights_limit: Whole = Field(default=16_000_000, description="most weights in one graph")
    graph_time_s: Seconds = Field(
        default=0.002, description="kernels are repeated to reach this time"
    )
    kernels_limit: Whole = Field(default=8, description="most kernels in one graph")
    ops_per_s: float = Field(
        default=1.3e11, gt=0, description="rough peak, used only for `kernels`"
    )
    bytes_per_s: float = Field(
        default=1.5e10, gt=0, description="rough bandwidth, only for `kernels`"
    )


class MultiLayer(Section):
    """Number of multi-layer benchmark networks (ANNETTE, section 4, figure 4)."""

    cells: Count = 0
    stems: Count = 0
    convnet: Count = 0
    fcnet: Count = 0
    pooled: Count = 0
    moved: Count = 0
    tangles: Count = 0
    architectures: Count = 0


class Rounds(Section):
    """Points added where models disagree or a step is suspected; see docs/sampling.md."""

    count: Annotated[int, Field(ge=0, le=50)] = Field(
        default=0, description="rounds after the samples; 0 is none"
    )
    points: Whole = Field(default=200, description="graphs per round, over all micro-kernels")
    target_error_percent: Annotated[float, Field(gt=0)] = Field(
        default=5.0,
        description="a micro-kernel whose held-out points are missed by less gets no more",
    )
    held_out: Annotated[float, Field(gt=0, le=0.5)] = Field(
        default=0.15, description="share of the samples that only judge; no round goes near them"
    )
    step_share: Share = Field(
        default=0.25, description="largest share of a round between points where times jump"
    )


class Fit(Section):
    """Sizes of the statistical models."""

    trees: Whole = Field(default=24, description="trees of a random forest")
    minimum_leaf: Whole = Field(default=2, description="fewest training rows in a leaf")
    learner: Learner = Field(
        default="best",
        description="of the mixed model: random forest, or gradient boosting of some kind",
    )


class NasBench(Section):
    """The sampled NASBench-101 networks (ANNETTE, section 7, test set 2)."""

    count: Count = 34
    seed: Count = 0


class Evaluation(Section):
    """Networks that are measured whole and compared with their estimates."""

    networks: list[str] = Field(default_factory=list, description="names from the network zoo")
    keras: list[str] = Field(default_factory=list, description="keras.applications classes")
    nasbench: NasBench = NasBench()
    rounds: Whole = Field(default=20, description="round-robin rounds; the median counts")
    parts: Whole = Field(
        default=1,
        description="jobs between the chunks of the samples into which the rounds are cut",
    )

    @field_validator("networks", "keras")
    @classmethod
    def _known(cls, names: list[str], info: ValidationInfo) -> list[str]:
        known = {"networks": tuple(ZOO), "keras": KERAS_NETWORKS}[str(info.field_name)]
        for name in names:
            if name not in known:
                raise ValueError(f"'{name}' is unknown; legal: {legal(known)}")
        if len(set(names)) < len(names):
            raise ValueError("a name is given twice; legal: each once")
        return names


class RunConfig(Section):
    """One run of the pipeline."""

    schema_version: Literal[1]
    name: Name = Field(description="folder under results/")
    seed: Count = 0
    platforms: list[Name] = Field(min_length=1, description="files in config/platforms/")
    measurement: Measurement = Measurement()
    sweeps: dict[MicroKernel, Sweep] = Field(default_factory=dict)
    sampling: Sampling = Sampling()
    samples: dict[MicroKernel, Count] = Field(
        default_factory=dict, description="micro-kernel benchmark -> points (graphs)"
    )
    multi_layer: MultiLayer = MultiLayer()
    mapping: MultiLayer = Field(
        default=MultiLayer(),
        description="networks compiled for what their toolchain fuses; run once, times not used",
    )
    calibration: MultiLayer = Field(
        default=MultiLayer(),
        description="networks whose totals intervals are calibrated on; nothing is fitted to them",
    )
    rounds: Rounds = Rounds()
    fit: Fit = Fit()
    evaluation: Evaluation = Evaluation()


class BlackBox(Section):
    """A device without a profiler: kernels are measured in graphs of several sizes instead."""

    kernels: list[Whole] = Field(
        default=[1, 4], min_length=2, description="equal kernels per graph, ascending"
    )
    filled: Annotated[int, Field(ge=0, le=65536)] = Field(
        default=0, description="units of a dense layer of 128 inputs that fills an on-chip memory"
    )

    @field_validator("kernels")
    @classmethod
    def _ascending(cls, kernels: list[int]) -> list[int]:
        if sorted(set(kernels)) != kernels:
            raise ValueError("legal: numbers that grow, such as [1, 4]")
        return kernels


class PlatformConfig(Section):
    """A platform: the hardware module that measures it, and that module's options."""

    schema_version: Literal[1] = 1
    name: Name = Field(description="the file's name without its ending; need not be given")
    like: str | None = Field(
        default=None,
        description="platform beside this file whose settings hold where this one says nothing; "
        "of sections, key by key",
    )
    module: str = Field(description="name in the registry of hardware modules")
    options: dict[str, Any] = Field(default_factory=dict)
    together: Whole = Field(
        default=1,
        description="cases measured in turns; 1 where changing from one to another is costly",
    )
    sweeps: dict[MicroKernel, Sweep] = Field(
        default_factory=dict,
        description="instead of the run's sweeps of these benchmarks: arrays differ in width",
    )
    points: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1, description="times the run's number of points, for platforms that answer fast"
    )
    sampling: dict[str, Any] = Field(
        default_factory=dict, description="keys of the run's sampling that differ here"
    )
    multi_layer: dict[str, Any] = Field(
        default_factory=dict, description="numbers of networks instead of `points` times the run's"
    )

    mapping: dict[str, Any] = Field(
        default_factory=dict, description="numbers of networks that are compiled, not timed"
    )
    calibration: dict[str, Any] = Field(
        default_factory=dict, description="numbers of networks whose totals alone are used"
    )
    samples: dict[str, Any] = Field(
        default_factory=dict, description="points instead of `points` times the run's"
    )
    rounds: dict[str, Any] = Field(
        default_factory=dict, description="keys of the run's rounds that differ here"
    )
    fit: dict[str, Any] = Field(
        default_factory=dict, description="keys of the run's fit that differ here"
    )
    black_box: BlackBox | None = Field(
        default=None, description="times per layer from differences of end-to-end times"
    )

    def apply(self, run: RunConfig, where: Path) -> RunConfig:
        """The run as this platform needs it; SchemaError for an illegal key of a section.

        `where` is the platform's file, for the message.
        """
        data = run.model_dump()
        data["sweeps"] |= self.model_dump()["sweeps"]
        data["sampling"] |= self.sampling
        for counts in (data["samples"], data["multi_layer"]):
            counts.update({name: count * self.points for name, count in counts.items()})
        data["rounds"]["points"] *= self.points
        data["multi_layer"] |= self.multi_layer
        data["mapping"] |= self.mapping
        data["calibration"] |= self.calibration
        data["samples"] |= self.samples
        data["rounds"] |= self.rounds
        if self.black_box is not None:
            data["rounds"]["count"] = 0  # added points are found from profiles
            data["mapping"] = {}  # and so is what was fused
            data["calibration"] = {}
        data["fit"] |= self.fit
        return validate(where, RunConfig, data)


def load_config(path: Path | str, platforms: Any = None) -> RunConfig:
    """The run configuration in a YAML file; `platforms`, if given, stand in for the file's.

    Raises SchemaError with one line per fault: file, path of the key, value, what is legal.
    """
    data = read_yaml(Path(path))
    if platforms is not None:
        data["platforms"] = platforms
    return validate(Path(path), RunConfig, data)


def platform_files(path: Path | str) -> tuple[Path, ...]:
    """A platform's file, the one of the platform it is `like`, and so on.

    SchemaError, one line, for a name without a file beside it, and for a circle.
    """
    files = [Path(path)]
    while (like := read_yaml(files[-1]).get("like")) is not None:
        beside = {file.stem: file for file in files[-1].parent.glob("*.yaml")}
        taken = [file.stem for file in files]
        free = [name for name in beside if name not in taken]
        if like not in free:
            raise SchemaError(
                f"{files[-1]}: key 'like' is {like!r}; "
                f"legal: another platform's name, {legal(free)}"
            )
        files.append(beside[like])
    return tuple(files)


def load_platform(path: Path | str) -> PlatformConfig:
    """The platform in a YAML file, named after the file, with what it takes over from others.

    Raises SchemaError as `load_config` and `platform_files`.
    """
    path = Path(path)
    data: dict[str, Any] = {}
    for file in reversed(platform_files(path)):
        own = read_yaml(file)
        name = own.pop("name", file.stem)
        if name != file.stem:
            raise SchemaError(
                f"{file}: key 'name' is {name!r}; legal: the file's name, {file.stem}"
            )
        if own.get("module", data.get("module")) != data.get("module"):
            data.pop("options", None)  # they were another module's
        for key, value in own.items():
            sections = isinstance(value, dict) and isinstance(data.get(key), dict)
            data[key] = {**data[key], **value} if sections else value
    return validate(path, PlatformConfig, {**data, "name": path.stem})


def platform_file(config_file: Path | str, platform: str) -> Path:
    """Where a run's platform is described: `platforms/<name>.yaml` beside the configuration.

    SchemaError, one line, if there is no such file.
    """
    path = Path(config_file).parent / "platforms" / f"{platform}.yaml"
    if not path.is_file():
        described = legal(each.stem for each in path.parent.glob("*.yaml"))
        raise SchemaError(f"{path}: no platform '{platform}' is described; legal: {described}")
    return path


def schema_text() -> str:
    """JSON schema of a run configuration, as `config/schema.json` holds it."""
    return json.dumps(RunConfig.model_json_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
