"""Data sets of Edge TPUs: what becomes of a row, and what the compiler's tables must agree on."""

import contextlib
import csv

import pytest

from evaluation.published import edge_tpu, edge_tpu_mapping
from evaluation.published.data_set import DataSet, Row, read_measurements
from evaluation.published.registry import SHIPPED
from simulators import edge_tpu as machine
from strata.errors import SchemaError, UnsupportedLayer


def row(**cells):
    return Row({key: str(value) for key, value in cells.items()}, "some.csv", 2)


def coral(device, network="MobileNet v1", size="224x224"):
    return row(network=network, input_hw=size, device=device, latency_ms=2.4, source="page")


def test_a_device_belongs_to_one_set():
    usb, pcie = edge_tpu.CORAL_USB.read, edge_tpu.CORAL_PCIE.read
    stick = coral("Edge TPU USB Accelerator, USB3, desktop host")
    board = coral("Edge TPU on Dev Board (PCIe)")
    cpu = coral("Desktop CPU")
    assert [len(usb(one)) for one in (stick, board, cpu)] == [1, 0, 0]
    assert [len(pcie(one)) for one in (stick, board, cpu)] == [0, 1, 0]
    (found,) = usb(stick)
    assert found.published_s == pytest.approx(2.4e-3)
    assert found.source == "page"
    assert found.build().work.macs == pytest.approx(569e6, rel=0.01)


def test_one_network_is_one_group_however_it_is_spelt():
    names = ("EfficientNet-EdgeTpu L 300x300", "EfficientNet-EdgeTpu-L 300x300")
    assert len({edge_tpu.coral_group(name) for name in names}) == 1
    assert edge_tpu.coral_group("MobileNet v1 224x224") != edge_tpu.coral_group(
        "MobileNet v1 0.25 128x128"
    )


def test_a_cell_without_a_time_on_a_set_up_is_no_measurement_of_it():
    cell = "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|"
    cells = row(
        nb201_index=7, arch_str=cell, eagle_edgetpu_int8_ms=1.5, hwnasbench_coral_edgetpu_ms=""
    )
    (found,) = edge_tpu.NAS_EAGLE.read(cells)
    assert (found.network, found.published_s) == ("NAS-Bench-201 7", pytest.approx(1.5e-3))
    assert edge_tpu.NAS_HARDWARE.read(cells) == ()


def chain(network, batch=1, device="Edge TPU"):
    return row(device=device, batch=batch, time_ms=3, network=f"Keras Sequential: {network}")


def test_chains_of_six_have_five_equal_layers():
    (six,) = edge_tpu.CHAINS.read(chain("Dense(82,tanh) x6, Dense(10); input 6912"))
    (four,) = edge_tpu.CHAINS.read(chain("Dense(120,tanh) x4, Dense(10); input 64"))
    assert six.build().work.macs == 6912 * 82 + 4 * 82**2 + 820
    assert "parameter bytes" in six.note
    assert (four.build().work.macs, four.note) == (52_080, "")


def test_what_is_not_simulated_says_so():
    (many,) = edge_tpu.CHAINS.read(chain("Dense(82,tanh) x6, Dense(10); input 6912", batch=8))
    with pytest.raises(UnsupportedLayer, match="several images"):
        many.build()
    assert edge_tpu.CHAINS.read(chain("any", device="CPU")) == ()


def sparta(device, count):
    return row(
        device=device,
        network="synthetic base_width 32 (weights fit sequential_d32_w32 or other)",
        input="96x96x3",
        latency_ms=48,
        n_tpus=count,
    )


def test_pipelines_of_several_devices_are_listed_and_not_built():
    one, two = (sparta(f"{n} Edge TPU(s) in pipeline, PCIe card", n) for n in (1, 2))
    (alone,) = edge_tpu.RESOLUTIONS.read(one)
    (together,) = edge_tpu.RESOLUTIONS.read(two)
    assert alone.build().work.macs > 0
    with pytest.raises(UnsupportedLayer, match="2 Edge TPUs"):
        together.build()
    assert together.graph_key != alone.graph_key
    assert edge_tpu.CIFAR.read(one) == ()
    (stick,) = edge_tpu.CIFAR.read(sparta("Coral USB (USB3) on Raspberry Pi 4", ""))
    assert edge_tpu.RESOLUTIONS.read(sparta("Coral USB (USB3)", "")) == ()
    assert stick.set_up == "Raspberry Pi 4, USB 3"
    (copies,) = edge_tpu.RESOLUTIONS.read(sparta("8 independent copies on 8 PCIe Edge TPUs", ""))
    with pytest.raises(UnsupportedLayer, match="8 Edge TPUs"):
        copies.build()


def test_a_power_mode_is_a_set_up():
    def read(column):
        cells = row(network="mobilenet_v1_1.0_224", column=column, time_ms=2)
        usb3, usb2 = edge_tpu.SWEEPS_USB3.read(cells), edge_tpu.SWEEPS_USB2.read(cells)
        return [one.set_up for one in usb3], [one.set_up for one in usb2]

    assert read("10W_EdgeTPU_USB3") == (["Jetson, 10W, USB 3"], [])
    assert read("5W_EdgeTPU_USB2") == ([], ["Jetson, 5W, USB 2"])
    assert read("10W_CPU") == ([], [])
    assert read("EdgeTPU_USB3") == (["Jetson, power mode not stated, USB 3"], [])


def test_what_was_not_published_is_said():
    text = "old test: 5x Conv2D(32 ch, k19) (input size not given)"
    (old,) = edge_tpu.SWEEPS_USB3.read(row(network=text, column="EdgeTPU_USB3", time_ms=2))
    with pytest.raises(UnsupportedLayer, match="input is not published"):
        old.build()
    cells = {"device": "Coral USB (USB3)", "input": "32x32x3", "latency_ms": 1.4, "n_tpus": ""}
    (thin,) = edge_tpu.CIFAR.read(row(network="ResNet-18 pruned 40% random", **cells))
    with pytest.raises(UnsupportedLayer, match="pruned"):
        thin.build()
    (whole,) = edge_tpu.CIFAR.read(row(network="ResNet-18", **cells))
    assert whole.build().layers


def test_a_time_that_is_none_names_its_cell():
    broken = row(network="VGG16", input_hw="224x224", device="Edge TPU USB", latency_ms="fast")
    with pytest.raises(SchemaError, match=r"latency_ms.*'fast' is not a number"):
        edge_tpu.CORAL_USB.read(broken)


@pytest.mark.parametrize("data_set", edge_tpu.DATA_SETS, ids=lambda one: one.name)
def test_shipped_files_fit_their_sets(data_set: DataSet):
    measurements = read_measurements(data_set, SHIPPED)
    hardware = machine.load(data_set.hardware)
    constants = {*data_set.constants, *data_set.set_up_constants}
    assert constants <= set(hardware.assumed)
    assert measurements
    assert all(one.source for one in measurements)
    built = 0
    for one in measurements[:: max(len(measurements) // 12, 1)]:
        with contextlib.suppress(SchemaError, UnsupportedLayer):
            built += bool(one.build().layers)
    assert built > 0


def test_published_cell_counts_are_those_of_the_built_cells():
    from graph_gen.published_edge_tpu_cells import parse_architecture, published_cell_macs

    with (SHIPPED / "nb201_networks.csv").open() as file:
        for cells in csv.DictReader(file):
            macs = published_cell_macs(parse_architecture(cells["arch_str"]))
            assert macs / 1e6 == pytest.approx(float(cells["cell_conv_macs_M"]))


# The compiler's own report: parameters on and off the chip, operations on the host.


def test_chains_are_cached_and_streamed_as_published():
    rows = edge_tpu_mapping.chain_rows(SHIPPED)
    assert len(rows) > 200
    assert not any(one.reason for one in rows)
    for one in rows:
        total = one.published_cached_bytes + one.published_streamed_bytes
        assert one.cached_bytes + one.streamed_bytes == pytest.approx(total, rel=0.01, abs=2**16)
        # published with two decimals of a MiB
        assert one.streamed_bytes == pytest.approx(one.published_streamed_bytes, abs=2**16)


def test_test_models_have_the_published_parameters():
    rows = edge_tpu_mapping.parameter_rows(SHIPPED)
    compared = [one for one in rows if one.cached_bytes is not None]
    assert len(compared) >= 8
    for one in compared:
        total = one.published_cached_bytes + one.published_streamed_bytes
        assert one.cached_bytes + one.streamed_bytes == pytest.approx(total, rel=0.12)
    assert all("together" in one.reason for one in rows if one.cached_bytes is None)


def test_the_same_operations_stay_on_the_host():
    rows = edge_tpu_mapping.placement_rows(SHIPPED)
    compared = [one for one in rows if one.agrees is not None]
    assert len(compared) > 30
    assert [one.file for one in compared if not one.agrees] == []
    assert all(one.reason for one in rows if one.agrees is None)


def test_frames_show_every_row():
    placement = edge_tpu_mapping.placement_rows(SHIPPED)
    frame = edge_tpu_mapping.placement_frame(placement)
    deeplab = frame[frame.file.str.startswith("deeplabv3_mnv2_pascal")].iloc[0]
    text = "1 ARG_MAX, 1 CONCATENATION, 2 CONV_2D, 3 RESIZE_BILINEAR"
    assert (deeplab["simulated on the host"], deeplab["agrees"]) == (text, "yes")
    assert len(frame) == len(placement)
    parameters = edge_tpu_mapping.parameter_rows(SHIPPED)
    assert len(edge_tpu_mapping.parameter_frame(parameters)) == len(parameters)


def test_a_cell_that_is_no_table_of_operations_names_its_place(tmp_path):
    file = tmp_path / edge_tpu_mapping.PLACEMENT_FILE
    file.write_text('compiled,left_on_cpu\nmodel.tflite,"[1]"\n')
    with pytest.raises(SchemaError, match=r"line 2, column 'left_on_cpu'"):
        edge_tpu_mapping.placement_rows(tmp_path)
