import pytest

from simulators import dpu
from strata.errors import SchemaError


@pytest.mark.parametrize("name", dpu.hardware_names())
def test_every_description_states_a_source_for_every_number(name):
    machine = dpu.load(name)
    assert set(machine.sources) == set(machine.model_dump()) - {
        "schema_version",
        "name",
        "description",
    }
    assert machine.name == name


def test_peak_is_what_was_measured_at_287_mhz():
    machine = dpu.load("dpuczdx8g_b4096_zcu102")
    assert 2 * machine.peak_macs_per_s == pytest.approx(1.17e12, rel=0.01)


def test_array_of_the_b2304():
    machine = dpu.load("dpu_b2304_ultra96")
    assert (machine.pixel_parallel, machine.channel_parallel, machine.filter_parallel) == (
        8,
        12,
        12,
    )


def test_cores_that_run_together_share_the_memory():
    machine = dpu.load("dpuczdx8g_b4096_zcu102")
    assert machine.read_rate == machine.read_bytes_per_s
    assert machine.changed(active_cores=3).read_rate == pytest.approx(15.1e9 / 3)


def test_a_slow_clock_slows_the_port():
    machine = dpu.load("dpuczdx8g_b4096_zcu102").changed(clock_hz=100e6)
    assert machine.read_rate == pytest.approx(100e6 * 32)


def test_more_active_cores_than_there_are_is_refused():
    with pytest.raises(SchemaError, match="active_cores is 4; legal: 1 to 3"):
        dpu.load("dpuczdx8g_b4096_zcu102").changed(active_cores=4)


def test_an_unknown_board_names_the_known_ones():
    with pytest.raises(SchemaError, match="dpuczdx8g_b4096_zcu102"):
        dpu.load("zcu999")


def test_a_wider_engine_beside_the_array_than_the_array_is_refused():
    with pytest.raises(SchemaError, match="alu_pixel_parallel is 9"):
        dpu.load("dpuczdx8g_b4096_zcu102").changed(alu_pixel_parallel=9)
