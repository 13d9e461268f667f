"""Making the NCS2 toolchain's environment: what is right stays, what fails changes nothing."""

import sys
from pathlib import Path

import pytest
from ncs2_stand_in import environment

from hardware_modules import ncs2_install
from hardware_modules.ncs2_toolchain import missing
from strata.errors import StrataError

SITE = "venv/lib/python3.9/site-packages"


def toolchain(folder, *packages):
    """An environment that tells of these packages, with a file by which it is known again."""
    environment(folder)
    for package in packages or (*ncs2_install.PACKAGES, ncs2_install.CLOCK):
        (folder / SITE / f"{package.replace('==', '-').replace('-pa', '_pa')}.dist-info").mkdir()
    (folder / "venv" / "known").touch()
    (folder / ".installed").touch()
    return folder


@pytest.fixture
def programs(monkeypatch):
    """Python 3.9 and pip stood in for: what they were asked, and a package that pip refuses."""
    asked, refused = [], []

    def run(*command):
        asked.append(command)
        if "venv" in command:
            folder = Path(command[-1]).parent
            environment(folder)
            library = folder / SITE / "libusb_package" / "libusb-1.0.so"
            library.parent.mkdir()
            library.touch()
            (folder / "lib" / "libusb-1.0.so.0").unlink()
            (folder / "lib").rmdir()
        elif set(command) & set(refused):
            raise StrataError("pip returned 1: no matching distribution")
        return ""

    monkeypatch.setattr(ncs2_install, "_run", run)
    return asked, refused


def test_a_right_environment_is_left_alone(tmp_path, programs, capsys):
    folder = toolchain(tmp_path / "it")
    assert ncs2_install.main([str(folder), ""]) == 0
    assert programs[0] == []
    assert (folder / "venv" / "known").exists()
    assert capsys.readouterr().out == f"the NCS2 toolchain is in {folder}\n"


def test_only_the_clock_is_added_where_only_it_is_missing(tmp_path, programs):
    folder = toolchain(tmp_path / "it", *ncs2_install.PACKAGES)
    assert ncs2_install.main([str(folder)]) == 0
    (command,) = programs[0]
    assert command[-1] == ncs2_install.CLOCK
    assert (folder / "venv" / "known").exists()


def test_other_versions_are_replaced(tmp_path, programs):
    folder = toolchain(tmp_path / "it", "openvino==2020.1")
    assert ncs2_install.main([str(folder)]) == 0
    assert not (folder / "venv" / "known").exists()
    assert missing(str(folder)) is None
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize("package", [ncs2_install.PACKAGES[0], ncs2_install.CLOCK])
def test_what_cannot_be_installed_leaves_the_old_environment(tmp_path, programs, capsys, package):
    folder = toolchain(tmp_path / "it", "openvino==2020.1")
    programs[1].append(package)
    needed = package != ncs2_install.CLOCK
    assert ncs2_install.main([str(folder)]) == needed
    assert (folder / "venv" / "known").exists() == needed
    assert missing(str(folder)) is None
    assert list(tmp_path.iterdir()) == [folder]
    told = capsys.readouterr()
    assert (told.err if needed else told.out).startswith(
        "the NCS2 toolchain cannot be installed: pip" if needed else f"without {package} (pip"
    )


def test_what_cannot_be_installed_leaves_no_new_folder(tmp_path, programs):
    programs[1].append(ncs2_install.PACKAGES[0])
    assert ncs2_install.main([str(tmp_path / "new")]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("entry", ["notes.txt", "lib"])
@pytest.mark.parametrize("more", ["", "venv"])
def test_a_folder_of_other_things_is_not_touched(tmp_path, programs, capsys, entry, more):
    for name in filter(None, (entry, more)):
        (tmp_path / name).mkdir()
    if (entry, more) == ("lib", "venv"):
        (tmp_path / "README.md").touch()
    before = sorted(tmp_path.iterdir())
    assert ncs2_install.main([str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{tmp_path} holds something else" in told
    assert sorted(tmp_path.iterdir()) == before
    assert programs[0] == []


@pytest.mark.parametrize("arguments", [[], [""], ["--help"], ["a", "b", "c"]])
def test_wrong_arguments_get_the_usage(capsys, arguments):
    assert ncs2_install.main(arguments) == 2
    assert capsys.readouterr().err == (
        "usage: python -m hardware_modules.ncs2_install FOLDER [PYTHON]\n"
    )


def test_another_python_is_refused_in_one_line(capsys, tmp_path):
    assert ncs2_install.main([str(tmp_path / "new"), sys.executable]) == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{sys.executable} is not Python 3.9" in told
    assert "NCS2_PYTHON=" in told
    assert not (tmp_path / "new").exists()


def test_no_python_at_all_is_refused_in_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert ncs2_install.main([str(tmp_path / "new"), ""]) == 1
    assert "needs Python 3.9 and Python 3.9 is not installed" in capsys.readouterr().err
