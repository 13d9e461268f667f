"""The pipe to a compiler's process: its words per request, its folder, and how it may end."""

import sys
import time
from pathlib import Path

import pytest

from hardware_modules import worker
from hardware_modules.worker import Worker
from strata.errors import UnsupportedLayer

# does what it is told: prints words, notes what it was given, then answers, hangs or ends
ANSWERS = """\
import json, os, pathlib, sys, time
print(json.dumps({"ready": "7"}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    sys.stderr.write(request.get("words", ""))
    sys.stderr.flush()
    if "note" in request:
        pathlib.Path(sys.argv[-1], "note").write_text(request["note"])
    if "end" in request:
        os._exit(request["end"])
    time.sleep(request.get("sleep", 0))
    print(json.dumps({"folder": sys.argv[-1], "length": len(line)}), flush=True)
"""


def start(source=ANSWERS):
    return Worker("the compiler", [sys.executable, "-c", source])


@pytest.fixture
def process():
    found = start()
    yield found
    found.close()


def test_it_has_a_version_and_a_folder_of_its_own(process):
    assert process.version == "7"
    assert process.ask({"note": "kept"}, 10.0)["folder"] == str(process.folder)
    assert (process.folder / "note").read_text() == "kept"
    folder = process.folder
    process.close()
    assert not folder.exists()
    assert not process.alive


def test_words_belong_to_the_request_that_they_were_printed_in(process):
    process.ask({"words": "Error: the first request's\n"}, 10.0)
    assert process.printed() == "Error: the first request's\n"
    assert process.printed() == "Error: the first request's\n"  # reading them twice is harmless
    process.ask({}, 10.0)
    assert process.printed() == ""
    process.ask({"words": "of the third, without an end"}, 10.0)
    assert process.printed() == "of the third, without an end"
    with pytest.raises(UnsupportedLayer) as ended:
        process.ask({"words": "\nfailed in\n  the fourth\n", "end": 9}, 10.0)
    assert str(ended.value) == "the compiler ended with exit code 9: failed in"


def test_words_that_are_no_text_are_told_all_the_same():
    ends = "import os; print('{\"ready\": 1}', flush=True); input()\n"
    noisy = start(ends + "os.write(2, b'failed at \\xff\\n'); os._exit(1)")
    with pytest.raises(UnsupportedLayer, match="exit code 1: failed at \ufffd"):
        noisy.ask({}, 10.0)


def test_a_request_of_many_bytes_arrives_whole(process):
    assert process.ask({"text": "x" * 1_000_000}, 10.0)["length"] > 1_000_000


def test_the_time_limit_ends_it_and_it_takes_no_further_request(process):
    begin = time.monotonic()
    with pytest.raises(UnsupportedLayer, match=r"^the compiler took longer than 0.2 s and was"):
        process.ask({"sleep": 60}, 0.2)
    assert time.monotonic() - begin < 10
    assert not process.alive


def test_one_that_does_not_read_is_ended_in_time():
    deaf = start("import time; print('{\"ready\": 1}', flush=True); time.sleep(60)")
    with pytest.raises(UnsupportedLayer, match=r"longer than 0\.5 s"):
        deaf.ask({"text": "x" * 1_000_000}, 0.5)
    assert not deaf.alive


def test_one_that_says_nothing_at_its_start_is_ended(monkeypatch):
    monkeypatch.setattr(worker, "_START_LIMIT_S", 0.3)
    with pytest.raises(UnsupportedLayer, match=r"longer than 0.3 s"):
        start("import time; time.sleep(60)")


def test_an_answer_that_is_cut_off_by_its_end_is_nonsense():
    torn = start(
        "import os, sys; print('{\"ready\": 1}', flush=True); input()\n"
        "sys.stdout.write('{\"half\": '); sys.stdout.flush(); os._exit(0)"
    )
    with pytest.raises(UnsupportedLayer, match=r"worker answered '\{\"half\":'"):
        torn.ask({}, 10.0)
    assert not torn.alive


@pytest.mark.skipif(not Path("/proc").exists(), reason="looks for the process in /proc")
def test_closing_leaves_no_process_and_may_be_repeated(process):
    number = process._process.pid
    process.close()
    process.close()
    assert not Path(f"/proc/{number}").exists()
