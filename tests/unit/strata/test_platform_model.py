"""Bundles: what is saved comes back; what was altered, cut or invented is refused in one line."""

import hashlib
import json
import zipfile
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strata.edges import EDGE_FEATURES
from strata.errors import ArtefactError
from strata.execution import FEATURES
from strata.forest import Forest
from strata.layer_models import (
    Mixed,
    MixedAnnette,
    Overlap,
    Refined,
    Roofline,
    Statistical,
    Unrolling,
)
from strata.mapping import MappingModel
from strata.platform_model import (
    Header,
    NetworkOverhead,
    PlatformModel,
    load_header,
    load_platform_model,
    save_platform_model,
)


def stump(low: float, high: float, column: int = 0) -> Forest:
    """column <= 100 ? low : high."""
    return Forest(
        feature=np.array([column, -1, -1]),
        threshold=np.array([100.0, 0, 0]),
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        value=np.array([0, low, high]),
        roots=np.array([0]),
    )


PAPER = "mixed-annette"


def platform_model() -> PlatformModel:
    roofline = Roofline(1e11, 1e10, 2e-6)
    refined = Refined(roofline, (Unrolling("filters", 16, 0.25),))
    forest, shared = stump(-0.5, -2.0), stump(0.5, 0.2)
    convolution = {
        "roofline": roofline,
        "refined": refined,
        "statistical": Statistical(roofline, stump(-1.0, -3.0), ("channels",)),
        "mixed": Mixed(
            Overlap(refined, 1e-6, (1e-7,), 1.0, 0.0, 0.5, 0.5, 0.0, 2.0),
            roofline,
            forest,
            ("channels",),
        ),
        "mixed-annette": MixedAnnette(refined, shared, ("channels",)),
    }
    movement = Roofline(None, 1e10, 1e-6)
    concat = {
        "roofline": movement,
        "mixed-annette": MixedAnnette(Refined(movement), shared, ("width",)),
    }
    header = Header(
        platform="toy",
        code_version="0.1.0",
        created="2026-01-01T00:00:00+00:00",
        run="tiny",
        seed=3,
        data_hashes={"layers/concat.parquet": "ab"},
        fit_metrics={"concat": {"mape_percent": {"mixed": 3.0}}},
        host={"cpu": "toy"},
        toolchain={"compiler": "1.0"},
        ranges={"concat": {"width": (1.0, 64.0)}},
        counts={"concat": 30},
        notes=("concat: modelled by bandwidth alone",),
    )
    mapping = MappingModel(
        {"add->activation": stump(0.2, 0.8), "convolution->activation": stump(0.0, 1.0)},
        {"input->convolution": stump(0.9, 0.1, 2)},
        moves_strides=True,
    )
    models = {"convolution": convolution, "concat": concat}
    return PlatformModel(header, models, mapping, NetworkOverhead(1e-5, 1e-6))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "toy.strata"
    save_platform_model(platform_model(), path)
    return path


def predictions(model: PlatformModel) -> list[list[float]]:
    matrix = np.random.default_rng(0).integers(1, 300, (40, len(FEATURES))).astype(float)
    kinds = [models[kind] for models in model.layer_models.values() for kind in sorted(models)]
    return [kind.time_s(matrix).tolist() for kind in kinds]


def fusion(model: PlatformModel) -> list[float]:
    matrix = np.random.default_rng(0).integers(1, 300, (40, len(EDGE_FEATURES))).astype(float)
    return [tree.predict(matrix).tolist() for tree in model.mapping.fusion.values()]


def test_round_trip_is_identical(bundle):
    before, after = platform_model(), load_platform_model(bundle)
    assert after.header == before.header
    assert after.overhead == before.overhead
    assert predictions(after) == predictions(before)
    assert fusion(after) == fusion(before)
    assert list(after.mapping.fusion) == list(before.mapping.fusion)
    assert after.mapping.moves_strides


def test_equal_models_give_equal_files(bundle, tmp_path):
    save_platform_model(platform_model(), tmp_path / "again.strata")
    assert (tmp_path / "again.strata").read_bytes() == bundle.read_bytes()


def test_loaded_model_saves_to_the_same_predictions(bundle, tmp_path):
    save_platform_model(load_platform_model(bundle), tmp_path / "again.strata")
    again = load_platform_model(tmp_path / "again.strata")
    assert predictions(again) == predictions(platform_model())
    assert fusion(again) == fusion(platform_model())


def test_shared_forest_is_stored_once(bundle):
    models = load_platform_model(bundle).layer_models
    shared = models["convolution"]["mixed-annette"].forest
    assert shared is models["concat"]["mixed-annette"].forest


def test_header_alone(bundle):
    assert load_header(bundle) == platform_model().header


def test_bundle_is_readable_without_strata(bundle):
    with zipfile.ZipFile(bundle) as content:
        assert sorted(content.namelist()) == ["arrays.npz", "header.json"]
        header = json.loads(content.read("header.json"))
        assert hashlib.sha256(content.read("arrays.npz")).hexdigest() == header["arrays"]["sha256"]
        with np.load(content.open("arrays.npz"), allow_pickle=False) as arrays:
            assert "forest0/split" in arrays.files


def rewritten(bundle, path, change=None, drop=(), arrays=None):
    """The bundle with its header changed, members dropped, or arrays replaced and hashed anew."""
    with zipfile.ZipFile(bundle) as content:
        members = {name: content.read(name) for name in content.namelist()}
    header = json.loads(members["header.json"])
    if arrays is not None:
        members["arrays.npz"] = arrays
        header["arrays"]["sha256"] = hashlib.sha256(arrays).hexdigest()
    if change is not None:
        change(header)
    members["header.json"] = json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as content:
        for name, data in members.items():
            if name not in drop:
                content.writestr(name, data)
    return path


def put(*path_and_value):
    *path, last, value = path_and_value

    def change(header):
        for key in path:
            header = header[key]
        header[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (put("format", "zip"), "format is 'zip', legal: strata-platform"),
        (put("schema_version", 3), "schema version is 3, legal: 5"),
        (put("schema_version", None), "schema version is None"),
        (put("header", []), "header: found list"),
        (put("header", "seed", "x"), "seed: found str, must be int"),
        (put("header", "seed", True), "seed: found bool"),
        (put("header", "host", {"cpu": 3}), "host: found int"),
        (put("header", "notes", [1]), "notes: found int"),
        (put("header", "ranges", {"add": {"width": [1]}}), "1 values"),
        (put("header", "ranges", {"add": {"width": [1, "a"]}}), "maximum is 'a'"),
        (put("header", "ranges", {"add": {"width": [1, float("nan")]}}), "NaN"),
        (put("overhead", {**asdict(NetworkOverhead()), "per_layer_s": -1}), "per_layer_s is -1"),
        (put("overhead", {}), "per_network_s is None"),
        (put("layer_models", "sorcery", {}), "unknown operation 'sorcery'"),
        (put("layer_models", "concat", 3), "found int"),
        (put("layer_models", "concat", {"magic": {"kind": "magic"}}), "unknown kind"),
        (
            put("layer_models", "concat", PAPER, "kind", "refined"),
            "concat: mixed-annette",
        ),
        (put("layer_models", "concat", PAPER, "forest", "forest9"), "forest9"),
        (
            put("layer_models", "concat", PAPER, "feature_names", ["hue"]),
            "unknown feature 'hue'",
        ),
        (put("layer_models", "concat", "roofline", "floor_s", 0), "floor_s is 0"),
        (put("mapping", {}), "mapping"),
        (put("mapping", "fusion", []), "mapping"),
        (put("mapping", "edge_features", ["hue"]), "mapping"),
        (put("arrays", "sha256", "00"), "SHA-256"),
        (put("arrays", {}), "sha256"),
    ],
)
def test_bundles_that_say_something_else_are_refused(bundle, tmp_path, change, named):
    path = rewritten(bundle, tmp_path / "other.strata", change)
    with pytest.raises(ArtefactError, match=named) as caught:
        load_platform_model(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["header.json", "arrays.npz"])
def test_missing_member(bundle, tmp_path, name):
    path = rewritten(bundle, tmp_path / "other.strata", drop=(name,))
    with pytest.raises(ArtefactError, match=f"holds no {name}"):
        load_platform_model(path)


def test_pickled_arrays_are_not_loaded(bundle, tmp_path):
    np.savez(tmp_path / "evil.npz", **{"forest0/feature": np.array([print], dtype=object)})
    payload = (tmp_path / "evil.npz").read_bytes()
    path = rewritten(bundle, tmp_path / "evil.strata", arrays=payload)
    with pytest.raises(ArtefactError, match=r"arrays\.npz is corrupt"):
        load_platform_model(path)


def test_hostile_arrays_are_refused(bundle, tmp_path):
    """A tree that points back at itself would be walked forever."""
    with zipfile.ZipFile(bundle) as content, np.load(content.open("arrays.npz")) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["forest0/left"][0] = 0
    np.savez(tmp_path / "loop.npz", **arrays)
    payload = (tmp_path / "loop.npz").read_bytes()
    path = rewritten(bundle, tmp_path / "loop.strata", arrays=payload)
    with pytest.raises(ArtefactError, match="after their parent"):
        load_platform_model(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a bundle" * 100])
def test_files_that_are_no_bundle(tmp_path, content):
    path = tmp_path / "other.strata"
    path.write_bytes(content)
    for load in (load_platform_model, load_header):
        with pytest.raises(ArtefactError, match="not a platform model"):
            load(path)


def test_missing_file_and_folder(tmp_path):
    for path in (tmp_path / "none.strata", tmp_path):
        with pytest.raises(ArtefactError, match="no such platform model file"):
            load_platform_model(path)


def test_truncated_bundles_are_refused(bundle, tmp_path):
    whole = bundle.read_bytes()
    path = tmp_path / "cut.strata"
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtefactError):
            load_platform_model(path)


def attempt(path):
    """The model and no message, or no model and the message that refused it."""
    try:
        return load_platform_model(path), ""
    except ArtefactError as error:
        return None, str(error)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_tampered_byte_is_refused_or_without_effect(bundle, tmp_path_factory, data):
    """Only bytes that carry nothing (the zip's time stamps) may change unnoticed."""
    content = bytearray(bundle.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "tampered.strata"
    path.write_bytes(content)
    loaded, refusal = attempt(path)
    assert "\n" not in refusal
    if loaded is not None:
        assert loaded.header == platform_model().header
        assert predictions(loaded) == predictions(platform_model())


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(min_size=1, max_size=64), place=st.floats(0, 1))
def test_overwritten_stretches_never_give_a_traceback(bundle, tmp_path_factory, noise, place):
    content = bytearray(bundle.read_bytes())
    start = int(place * (len(content) - len(noise)))
    content[start : start + len(noise)] = noise
    path = tmp_path_factory.getbasetemp() / "noisy.strata"
    path.write_bytes(content)
    assert "\n" not in attempt(path)[1]


def test_model_that_would_not_load_is_not_written(tmp_path):
    header = replace(platform_model().header, fit_metrics={"add": {"mape": float("nan")}})
    with pytest.raises(ArtefactError, match="JSON"):
        save_platform_model(replace(platform_model(), header=header), tmp_path / "bad.strata")
    models = {"sorcery": platform_model().layer_models["concat"]}
    with pytest.raises(ArtefactError, match="sorcery"):
        save_platform_model(replace(platform_model(), layer_models=models), tmp_path / "bad.strata")
    assert list(tmp_path.iterdir()) == []


def test_saving_replaces_the_file_whole(bundle, tmp_path):
    path = tmp_path / "toy.strata"
    path.write_bytes(b"older")
    save_platform_model(platform_model(), path)
    assert path.read_bytes() == bundle.read_bytes()
    assert [each.name for each in tmp_path.iterdir()] == ["toy.strata"]
