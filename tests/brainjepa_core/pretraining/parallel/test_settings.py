"""Devices of training: what may stand together, and what each process gets of it."""

from __future__ import annotations

import sys

import pytest
from pydantic import ValidationError

from brainjepa_core.pretraining.parallel.launching import words_of
from brainjepa_core.pretraining.parallel.member import place_of
from brainjepa_core.pretraining.parallel.settings import Devices, several


@pytest.mark.parametrize(
    "choices, text",
    [
        ({"devices": ["gpu"]}, "devices named cpu or cuda:<number>, found 'gpu'; write"),
        ({"devices": ["cuda", "cuda"]}, "devices named cpu or cuda:<number>, found 'cuda'"),
        ({"devices": ["cpu", "cuda:0"]}, "devices of one kind, found cpu, cuda:0; the slower kind"),
        ({"devices": ["cuda:0", "cuda:0"]}, "expected each GPU once, found cuda:0, cuda:0; name"),
        ({"launcher": "srun -n 2"}, "a command line with {program} where that of a process"),
        ({"launcher": "srun '{program}"}, "a command line with {program} where that of a process"),
        ({"reduce": "fast"}, "'ordered' or 'sum'"),
    ],
)
def test_what_does_not_go_together_is_refused(choices, text):
    with pytest.raises(ValidationError, match=text):
        Devices(**choices)


def test_the_first_device_does_the_rest_unless_another_is_named():
    assert Devices(devices=["cuda:1", "cuda:0"]).device == "cuda:1"
    assert Devices(device="cpu", devices=["cuda:1", "cuda:0"]).device == "cpu"
    assert Devices().trains_on == ("cpu",) and Devices().processes == 1
    both = Devices(devices=["cuda:1", "cuda:0"], shard_optimizer=True)
    assert Devices.model_validate(both.model_dump()) == both
    second = both.of_process(1)
    assert (second.device, second.devices, second.launcher) == ("cuda:0", (), None)


def test_one_gpu_may_stand_twice_where_a_launcher_knows_other_machines():
    devices = Devices(devices=["cuda:0", "cuda:0"], launcher="srun --ntasks={n} {program}")
    assert devices.processes == 2


def test_the_bits_are_decided_by_what_decides_them():
    two = Devices(devices=["cuda:0", "cuda:1"])
    assert two.deciding == Devices(device="cuda:0").deciding == ("cuda:0",)
    assert two.deviation == 0 and Devices(devices=["cpu"], reduce="sum").deviation == 0
    summed = two.model_copy(update={"reduce": "sum"})
    assert summed.deciding == ("cuda:0", "cuda:1", "sum") and summed.deviation == 1e-6


def test_a_number_that_does_not_divide_is_refused_with_those_that_do():
    three = Devices(devices=["cpu"] * 3)
    three.require_divides(6)
    with pytest.raises(ValueError, match=r"accumulation \(8\), .* found 3; name 1, 2, 4 or 8 dev"):
        three.require_divides(8)


def test_sums_have_to_be_as_exact_as_the_study_asks():
    summed = Devices(devices=["cpu", "cpu"], reduce="sum")
    summed.require_within(1e-6)
    with pytest.raises(ValueError, match="found reduce: sum, which is to 1e-06; set reduce: ord"):
        summed.require_within(1e-7)
    Devices(devices=["cpu", "cpu"]).require_within(0)


def test_a_launcher_is_given_the_program_as_words_or_as_one(tmp_path):
    program = ["-m", "some.module", str(tmp_path / "a folder")]
    words = words_of(
        Devices(devices=["cpu"] * 2, launcher="srun -n {n} {program}"), program, tmp_path
    )
    assert words == ["srun", "-n", "2", sys.executable, *program]
    wrapped = 'sbatch --wait --gres=gpu:{n} --wrap "srun -n {n} {program}"'
    words = words_of(Devices(devices=["cpu"] * 2, launcher=wrapped), program, tmp_path)
    assert words[:4] == ["sbatch", "--wait", "--gres=gpu:2", "--wrap"]
    assert words[4] == f"srun -n 2 {sys.executable} -m some.module '{tmp_path / 'a folder'}'"


@pytest.mark.parametrize(
    "told, place",
    [
        ({"RANK": "1", "WORLD_SIZE": "2"}, 1),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, 1),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"}, 0),
        ({"RANK": "0", "WORLD_SIZE": "3"}, "a launcher that starts 2 processes, .* found 3"),
        ({}, "expected a launcher that numbers its processes"),
    ],
)
def test_a_process_knows_its_place_from_its_launcher(told, place, monkeypatch):
    for name in ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    devices = Devices(devices=["cpu", "cpu"])
    if isinstance(place, int):
        assert place_of(devices) == place
    else:
        with pytest.raises(ValueError, match=place):
            place_of(devices)


def test_devices_of_a_command():
    assert several("cuda:0, cuda:1", "sum", False).devices == ("cuda:0", "cuda:1")
    with pytest.raises(
        ValueError, match=r"several devices with commas .* found 'cuda:0'; name one"
    ):
        several("cuda:0", "ordered", False)
    with pytest.raises(ValueError, match=r"^--devices: .*devices of one kind"):
        several("cpu,cuda:0", "ordered", False)
