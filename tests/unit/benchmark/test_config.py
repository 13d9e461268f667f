"""Configurations: what is shipped is legal, and every fault is one line that says what to do."""

from pathlib import Path
from typing import get_args

import pytest

from benchmark.config import (
    MicroKernel,
    Range,
    load_config,
    load_platform,
    platform_file,
    platform_files,
    schema_text,
)
from graph_gen.benchmarks import BENCHMARKS
from hardware_modules.registry import create
from strata.errors import SchemaError

CONFIG = Path(__file__).parents[3] / "config"
GOOD = "schema_version: 1\nname: run\nplatforms: [null_device]\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["tiny", "default", "full"])
def test_shipped_configurations_are_legal(name: str) -> None:
    path = CONFIG / f"{name}.yaml"
    config = load_config(path)
    assert config.name == name
    for platform in config.platforms:
        assert load_platform(platform_file(path, platform)).name == platform


def test_schema_file_is_up_to_date() -> None:
    # python -m benchmark.config > config/schema.json
    assert (CONFIG / "schema.json").read_text() == schema_text()


def test_micro_kernels_are_those_of_the_graph_generator() -> None:
    measured = {name for name, benchmark in BENCHMARKS.items() if benchmark.operation}
    assert set(get_args(MicroKernel)) == measured


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        ("measurement: {repeats: 0}", "'measurement.repeats' is 0", "greater than or equal to 1"),
        ("measurement: {repeat: 3}", "'measurement.repeat' is unknown", "legal: device_share"),
        ("surprise: 1", "'surprise' is unknown", "legal: calibration, evaluation, fit"),
        ("samples: {convolutions: 3}", "'samples.convolutions'", "'convolution'"),
        ("sampling: {data_set: best}", "'sampling.data_set' is 'best'", "'aligned'"),
        ("evaluation: {networks: [alexnet]}", "'evaluation.networks'", "resnet18"),
        ("evaluation: {keras: [VGG16, VGG16]}", "'evaluation.keras'", "each once"),
        (
            "sweeps: {dense: {points: [{}], parameters: {filters: {start: 9, stop: 3}}}}",
            "'sweeps.dense.parameters.filters'",
            "stop should be at least start, 9",
        ),
    ],
)
def test_a_fault_names_file_key_and_what_is_legal(
    tmp_path: Path, text: str, key: str, rule: str
) -> None:
    path = write(tmp_path, GOOD + text + "\n")
    with pytest.raises(SchemaError) as raised:
        load_config(path)
    message = str(raised.value)
    assert message.startswith(f"{path}: key ")
    assert key in message
    assert rule in message
    assert "\n" not in message


def test_several_faults_are_a_line_each(tmp_path: Path) -> None:
    path = write(tmp_path, "schema_version: 2\nplatforms: []\n")
    with pytest.raises(SchemaError) as raised:
        load_config(path)
    lines = str(raised.value).splitlines()
    # schema_version is not 1, name is missing, platforms is empty
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: key '") for line in lines)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no mapping"),
        ("- 1\n", "no mapping"),
        ("a: [1\n", "line 2"),
        ("name: a\nname: b\n", "line 2: not legal YAML: key 'name' is given twice"),
    ],
)
def test_files_that_are_no_configuration(tmp_path: Path, text: str, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SchemaError, match=r"run\.yaml") as raised:
        load_config(path)
    assert says in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"absent.yaml: no such file"):
        load_config(tmp_path / "absent.yaml")


def test_a_platform_without_a_file_is_named_beside_those_that_have_one(tmp_path: Path) -> None:
    (tmp_path / "platforms").mkdir()
    (tmp_path / "platforms" / "board.yaml").write_text("module: 'null'\n")
    assert platform_file(tmp_path / "run.yaml", "board").exists()
    with pytest.raises(SchemaError, match=r"nope.yaml: no platform 'nope' is .*; legal: board$"):
        platform_file(tmp_path / "run.yaml", "nope")


def test_a_platform_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text("module: 'null'\noptions: {node_s: 1.0e-6}\n")
    assert load_platform(path).name == "board"
    path.write_text("module: 'null'\nname: other\n")
    with pytest.raises(SchemaError, match=r"'name' is 'other'; legal: the file's name, board"):
        load_platform(path)
    path.write_text("modul: 'null'\n")
    with pytest.raises(SchemaError, match="'modul' is unknown"):
        load_platform(path)


def describe(folder: Path, **texts: str) -> dict[str, Path]:
    """Platform files by name."""
    paths = {name: folder / f"{name}.yaml" for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text)
    return paths


def test_a_platform_takes_over_what_it_does_not_say_itself(tmp_path: Path) -> None:
    files = describe(
        tmp_path,
        first="module: 'null'\npoints: 3\ntogether: 7\noptions: {node_s: 1.0, s_per_op: 2.0}\n",
        second="like: first\noptions: {node_s: 4.0}\nsampling: {kernels_limit: 2}\n",
        third="like: second\nmodule: replay\npoints: 5\n",
    )
    third = load_platform(files["third"])
    assert (third.name, third.module, third.points) == ("third", "replay", 5)
    assert third.options == {}  # another module's options say nothing to this one
    assert load_platform(files["second"]).options == {"node_s": 4.0, "s_per_op": 2.0}
    assert third.sampling == {"kernels_limit": 2}
    assert load_platform(files["second"]).points == 3
    assert third.together == 7
    assert load_platform(files["first"]).options["node_s"] == 1.0
    assert platform_files(files["third"]) == (files["third"], files["second"], files["first"])


@pytest.mark.parametrize(
    ("like", "says"),
    [
        ("nope", r"second.yaml: key 'like' is 'nope'; legal: another platform's name, first$"),
        ("second", r"second.yaml: key 'like' is 'second'; legal: another platform's name, first$"),
        ("../x", r"key 'like' is '../x'; legal"),
        ("[first]", r"key 'like' is \['first'\]; legal"),
        ("first", r"first.yaml: key 'like' is 'second'; legal: another platform's name"),
    ],
)
def test_a_platform_cannot_be_like_none_or_itself(tmp_path: Path, like: str, says: str) -> None:
    files = describe(
        tmp_path, first="module: 'null'\nlike: second\n", second=f"module: 'null'\nlike: {like}\n"
    )
    with pytest.raises(SchemaError, match=says) as raised:
        load_platform(files["second"])
    assert "\n" not in str(raised.value)


def test_every_shipped_platform_is_legal() -> None:
    for path in (CONFIG / "platforms").glob("*.yaml"):
        described = load_platform(path)
        if described.module != "replay":  # needs its folder of recordings
            create(described.module, described.options)
        described.apply(load_config(CONFIG / "default.yaml"), path)


def test_a_range_holds_its_stop_when_a_step_lands_on_it() -> None:
    assert Range(start=2, stop=8, step=3).values == (2, 5, 8)
    assert Range(start=2, stop=7, step=3).values == (2, 5)


def test_other_platforms_may_stand_in_for_the_files(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load_config(path, ["null"]).platforms == ["null"]
    assert load_config(path).platforms == load_config(path, None).platforms
    with pytest.raises(SchemaError, match="key 'platforms' is 'null'"):
        load_config(path, "null")
    with pytest.raises(SchemaError, match="key 'platforms' is "):
        load_config(path, [])


def test_a_platform_asks_for_its_own_networks(tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text("module: 'null'\npoints: 3\nmulti_layer: {pooled: 7}\n")
    run = load_config(write(tmp_path, GOOD + "multi_layer: {cells: 2, convnet: 1}\n"))
    counts = load_platform(path).apply(run, path).multi_layer
    assert (counts.cells, counts.convnet, counts.pooled) == (6, 3, 7)
    path.write_text("module: 'null'\nmulti_layer: {poled: 7}\n")
    with pytest.raises(SchemaError, match=r"'multi_layer\.poled' is unknown"):
        load_platform(path).apply(run, path)


def test_networks_for_the_mapping_are_the_runs_unless_a_platform_has_its_own(tmp_path):
    run = load_config(write(tmp_path, GOOD + "mapping: {cells: 3, tangles: 5}\n"))
    (tmp_path / "platforms").mkdir(exist_ok=True)
    path = tmp_path / "platforms" / "fast.yaml"
    path.write_text("module: 'null'\nmapping: {cells: 0}\n")
    mapping = load_platform(path).apply(run, path).mapping
    assert (mapping.cells, mapping.tangles) == (0, 5)
    # where no profile tells what was fused there is nothing to map
    path.write_text("module: 'null'\nblack_box: {}\n")
    assert not any(load_platform(path).apply(run, path).mapping.model_dump().values())
