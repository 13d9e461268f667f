"""A compiler in a process of its own, so that it can end, hang or print as it likes.

A long-lived worker behind a pipe: one JSON line per request, one per answer, with a time limit
(`hardware_modules.time_limit`).
"""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from hardware_modules.time_limit import answers_in_time
from hardware_modules.vendor_tools import own_words
from strata.errors import UnsupportedLayer

_START_LIMIT_S = 60.0


class Worker:
    """One process that answers one JSON line per request; ends with its parent.

    `who` names the compiler in messages. The command gets a folder of its own as last argument;
    the process writes a line with "ready" (a version) first, whatever the compiler prints to
    standard error, and ends when its standard input does.
    """

    def __init__(
        self, who: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._who = who
        # the compiler's own words, and where those about the current request begin
        self._printed: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        self._begin = 0
        # ours, because a worker that is ended cannot clear up
        self._folder = tempfile.TemporaryDirectory(
            prefix="strata-worker-", ignore_cleanup_errors=True
        )
        self._process = subprocess.Popen(
            [*command, self._folder.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            env=environment,
        )
        self._talk = ThreadPoolExecutor(1)  # so that a silent worker can be waited for with a limit
        self.version = str(self._answer(self._read, _START_LIMIT_S)["ready"])

    @property
    def alive(self) -> bool:
        """Whether it can take a request."""
        return self._process.poll() is None

    def ask(self, request: Mapping[str, Any], limit_s: float) -> dict[str, Any]:
        """The answer; UnsupportedLayer if it ends, hangs or answers nonsense: then it is gone."""
        line = json.dumps(request).encode() + b"\n"
        self._begin = os.fstat(self._printed.fileno()).st_size

        def exchange() -> bytes:
            with suppress(BrokenPipeError):
                self._input.write(line)
                self._input.flush()
            return self._read()

        return self._answer(exchange, limit_s)

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _answer(self, exchange: Any, limit_s: float) -> dict[str, Any]:
        waiting = self._talk.submit(exchange)

        def wait_for(seconds: float) -> bool:
            return bool(wait([waiting], seconds).done)

        try:
            if not answers_in_time(self._process.pid, limit_s, wait_for):
                raise UnsupportedLayer(f"{self._who} took longer than {limit_s:g} s and was ended")
            line = waiting.result()
        except BaseException:
            self.close()
            raise
        if not line:
            raise UnsupportedLayer(self._death())
        try:
            answer = json.loads(line)
            if not isinstance(answer, dict):
                raise ValueError
        except ValueError:
            self.close()
            words = line[:80].decode(errors="replace").strip()
            raise UnsupportedLayer(f"{self._who}'s worker answered '{words}'") from None
        return answer

    def printed(self) -> str:
        """What the compiler has printed since the last request."""
        self._printed.seek(self._begin)
        return self._printed.read().decode(errors="replace")

    @property
    def folder(self) -> Path:
        """Its folder, for what is too large for a line."""
        return Path(self._folder.name)

    def _death(self) -> str:
        """How the process ended, in the plugin's own words where it had any."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        code = self._process.poll()
        words = own_words(self.printed())
        self.close()
        if code is not None and code < 0:
            return f"{self._who} ended with signal {-code} ({signal.strsignal(-code)}): {words}"
        return f"{self._who} ended with exit code {code}: {words}"

    def close(self) -> None:
        """End the process, whatever it does, and remove what it left."""
        self._process.kill()
        self._process.wait()
        self._talk.shutdown(wait=True)
        for stream in (self._process.stdin, self._process.stdout, self._printed):
            with suppress(OSError):  # what a dead worker has not read cannot be flushed
                if stream is not None:
                    stream.close()
        self._folder.cleanup()
