"""One process at a time per device."""

import subprocess
import sys
import textwrap

from hardware_modules.device_lock import device_lock, lock_path


def test_the_lock_file_is_safe_for_any_device_name():
    assert lock_path("a/b c").name == "strata-device-a_b_c.lock"


def test_a_second_process_says_it_waits_and_goes_on_when_released():
    program = textwrap.dedent(
        """
        from hardware_modules.device_lock import device_lock
        with device_lock("test-lock"):
            print("measured")
        """
    )
    with device_lock("test-lock"):
        other = subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert "waiting for device 'test-lock'" in other.stderr.readline()
        assert other.poll() is None
    output, _ = other.communicate(timeout=30)
    assert output.strip() == "measured"
