"""Recording and playing back."""

import pytest

from hardware_modules.null import NullModule
from hardware_modules.registry import create
from hardware_modules.replay import record, recording_path
from strata.builder import GraphBuilder
from strata.errors import ArtefactError, SchemaError, UnsupportedLayer


def small_graph(filters=8):
    builder = GraphBuilder("small")
    builder.convolution(builder.input(1, 3, 8, 8, name="in"), filters, 3, name="only")
    return builder.build()


@pytest.fixture
def recorded(tmp_path):
    source = NullModule.from_options({})
    graph = small_graph()
    report = source.profile(source.compile(graph), 3, 1)
    return tmp_path, source, graph, report, record(tmp_path, source, graph, report)


def test_a_replayed_profile_is_the_recorded_one(recorded):
    folder, source, graph, report, _ = recorded
    module = create("replay", {"folder": str(folder)})
    replayed = module.parse(module.profile(module.compile(graph), 3, 1), graph)
    original = source.parse(report, graph)
    assert (replayed.platform, replayed.nodes) == (original.platform, original.nodes)
    assert replayed.samples_s == original.samples_s
    assert replayed.toolchain == {**original.toolchain, "replayed": "yes"}


def test_a_graph_never_recorded_is_refused_with_its_file(recorded):
    folder, *_ = recorded
    other = small_graph(filters=9)
    module = create("replay", {"folder": str(folder)})
    assert recording_path(folder, other).name in module.supports(other)
    with pytest.raises(UnsupportedLayer, match="no recording"):
        module.compile(other)


@pytest.mark.parametrize("content", ["", "[1]", '{"module": "null"}', '{"a": '])
def test_a_damaged_recording_is_one_line(recorded, content):
    folder, _, graph, _, path = recorded
    path.write_text(content)
    with pytest.raises(ArtefactError, match=path.name):
        create("replay", {"folder": str(folder)}).compile(graph)


def test_the_folder_must_exist(tmp_path):
    with pytest.raises(SchemaError, match="legal: an existing folder"):
        create("replay", {"folder": str(tmp_path / "none")})
    with pytest.raises(SchemaError, match="legal: an existing folder"):
        create("replay", {})


def test_recording_leaves_no_partial_file(recorded):
    folder, *_, path = recorded
    assert list(folder.iterdir()) == [path]
