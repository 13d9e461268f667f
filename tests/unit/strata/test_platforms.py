"""Which bundle a platform's name means."""

import os
from pathlib import Path

import pytest

from strata import platforms
from strata.errors import ArtefactError
from strata.layer_models import Roofline
from strata.mapping import MappingModel
from strata.platform_model import Header, PlatformModel, save_platform_model
from strata.platforms import find_platforms, load_platform, locate


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder and a checkout without results."""
    checkout = tmp_path / "checkout"
    (checkout / "strata").mkdir(parents=True)
    monkeypatch.setattr(platforms, "__file__", str(checkout / "strata" / "platforms.py"))
    monkeypatch.delenv(platforms.ENVIRONMENT_VARIABLE, raising=False)
    current = tmp_path / "current"
    current.mkdir()
    monkeypatch.chdir(current)
    return current


def bundle(path: Path, day: int = 1) -> Path:
    model = PlatformModel(
        Header(path.stem, "0", f"2025-01-{day:02}T00:00:00+00:00", "test", 0),
        {"convolution": {"roofline": Roofline(1e9, 1e9, 1e-6)}},
        MappingModel(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_platform_model(model, path)
    return path


def in_run(root: Path, run: str, day: int = 1, name: str = "cpu") -> Path:
    return bundle(root / "results" / run / name / f"{name}.strata", day)


def released(root: Path, day: int = 1) -> Path:
    return bundle(root / "results" / "platforms" / "cpu.strata", day)


def same(found: Path, expected: Path) -> bool:
    return found.resolve() == expected.resolve()


def test_a_name_means_the_newest_run(house: Path) -> None:
    in_run(house, "full", day=3)
    newest = in_run(house, "default", day=9)
    in_run(house, "tiny", day=20)
    released(house, day=30)
    assert same(locate("cpu"), newest)
    assert load_platform("cpu").header.platform == "cpu"


def test_without_runs_the_released_one_and_tiny_last(house: Path) -> None:
    tiny = in_run(house, "tiny", day=9)
    assert same(locate("cpu"), tiny)
    fixed = released(house, day=1)
    assert same(locate("cpu"), fixed)


def test_a_run_is_asked_for_by_name(house: Path) -> None:
    full = in_run(house, "full", day=3)
    in_run(house, "default", day=9)
    fixed = released(house)
    assert same(locate("cpu@full"), full)
    assert same(locate("cpu@platforms"), fixed)
    with pytest.raises(ArtefactError, match="'cpu@other'; legal: cpu, cpu@default, cpu@full"):
        locate("cpu@other")


def test_the_checkout_is_searched_too(tmp_path: Path, house: Path) -> None:
    below = in_run(tmp_path / "checkout", "default", day=2)
    assert same(locate("cpu"), below)
    newer = in_run(house, "default", day=3)
    assert same(locate("cpu"), newer)


def test_one_file_seen_twice_is_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_run(tmp_path / "checkout", "default")
    monkeypatch.chdir(tmp_path / "checkout")
    assert [found.full_name for found in find_platforms()] == ["cpu@default"]


def test_folders_of_the_environment_come_first(
    tmp_path: Path, house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_run(house, "default", day=9)
    own = bundle(tmp_path / "mine" / "cpu.strata", day=1)
    other = bundle(tmp_path / "yours" / "board.strata")
    folders = os.pathsep.join(map(str, (own.parent, other.parent)))
    monkeypatch.setenv(platforms.ENVIRONMENT_VARIABLE, folders)
    assert same(locate("cpu"), own)
    assert same(locate("cpu@mine"), own)
    assert same(locate("board"), other)
    assert {found.name for found in find_platforms()} == {"cpu", "board"}


def test_a_missing_folder_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(platforms.ENVIRONMENT_VARIABLE, "/no/such/folder")
    with pytest.raises(ArtefactError, match="STRATA_PLATFORMS names '/no/such/folder'"):
        locate("cpu")


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    path = bundle(tmp_path / "somewhere" / "board.strata")
    assert locate(str(path)) == path
    renamed = path.rename(path.with_name("board.zip"))
    assert load_platform(renamed).header.platform == "board"
    assert load_platform(str(renamed)).header.platform == "board"
    with pytest.raises(ArtefactError, match=r"missing\.strata"):
        locate("missing.strata")


def test_unknown_names_list_the_legal_ones_and_how_to_make_one(house: Path) -> None:
    with pytest.raises(ArtefactError, match=r"unknown platform 'npu': no platform model.*make run"):
        locate("npu")
    in_run(house, "default")
    with pytest.raises(ArtefactError, match=r"'npu'; legal: cpu, cpu@default.*make run"):
        locate("npu")


def test_an_unreadable_bundle_never_hides_a_good_one(house: Path) -> None:
    good = in_run(house, "default")
    broken = in_run(house, "full", day=9)
    broken.write_bytes(b"not a zip")
    assert same(locate("cpu"), good)
    with pytest.raises(ArtefactError):
        load_platform("cpu@full")


def test_files_that_are_no_bundle_of_their_folder_are_left_out(house: Path) -> None:
    bundle(house / "results" / "default" / "cpu" / "backup.strata")
    assert find_platforms() == ()
