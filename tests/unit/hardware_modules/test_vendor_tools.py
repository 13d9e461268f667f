"""Vendors' programs: what they print, how they fail, and that nothing of them stays behind."""

import sys
import time

import pytest

from hardware_modules.vendor_tools import missing_program, own_words, run_program
from strata.errors import UnsupportedLayer


def python(source):
    return [sys.executable, "-c", source]


def test_both_streams_are_returned_in_order(tmp_path):
    source = (
        "import os, sys; print(os.getcwd(), flush=True); print(os.environ['A'], file=sys.stderr)"
    )
    printed = run_program(python(source), 30, tmp_path, {"A": "told"})
    assert printed.splitlines() == [str(tmp_path), "told"]


def test_it_cannot_ask_for_anything():
    assert run_program(python("import sys; print(repr(sys.stdin.read()))"), 30) == "''\n"


def test_an_error_is_quoted():
    source = "print('loading'); print('Error: no such layer'); print('bye'); raise SystemExit(7)"
    with pytest.raises(UnsupportedLayer, match=r"returned 7: Error: no such layer$"):
        run_program(python(source), 30)


def test_a_program_that_is_not_there():
    with pytest.raises(UnsupportedLayer, match="no_such_tool cannot be run: No such file"):
        run_program(["no_such_tool"], 30)


def test_a_time_limit_ends_what_the_program_started_too(tmp_path):
    """The inner program holds the pipe open and would write the file after two seconds."""
    late = tmp_path / "late"
    inner = f"import time; time.sleep(2); open({str(late)!r}, 'w')"
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with pytest.raises(UnsupportedLayer, match=r"took longer than 0\.5 s and was ended"):
        run_program(python(source), 0.5)
    time.sleep(2.5)
    assert not late.exists()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("a\n\nlast  line\n", "last line"),
        ("first\nCompilation failed: too large\nmore\n", "Compilation failed: too large"),
        ("", "it printed nothing"),
        ("error " + "x" * 1000, ("error " + "x" * 1000)[:300]),
    ],
)
def test_own_words_are_one_short_line(output, words):
    assert own_words(output) == words


def test_a_missing_program_comes_with_advice(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert missing_program("tool", "see there") == "tool is not installed; see there"
    (tmp_path / "tool").write_text("")
    (tmp_path / "tool").chmod(0o755)
    assert missing_program("tool", "see there") is None
