"""The benchmark of a GPU, tried on a processor: all that it tells is there, and is right."""

from __future__ import annotations

import json

import pytest
import torch

from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.models.brain_jepa.settings import BrainJepaSettings
from brainjepa_core.models.masks.settings import MaskSettings
from brainjepa_core.pretraining.sampling import Batch
from brainjepa_core.pretraining.schedules import ScheduleSettings
from brainjepa_core.pretraining.step import Training
from brainjepa_core.pretraining.training_settings import TrainingSettings

FIGURES = {
    "steps": int,
    "samples_per_second": float,
    "step_ms": float,
    "slowest_over_median": float,
    "tflops": float,
    "memory_gb": float,
    "waiting_share": float,
}


def run(bench, tmp_path, *words: str) -> tuple[dict, list[dict]]:
    out = tmp_path / "told.json"
    sizes = ["--rois", "6", "--frames", "32", "--seconds", "0.2", "--out", str(out)]
    bench("bench_gpu").main(["--device", "cpu", *sizes, *words])
    told = json.loads(out.read_text())
    return told, told["cases"]


def test_it_runs_the_loop_and_tells_everything(bench, tmp_path, capsys):
    told, cases = run(bench, tmp_path, "--batches", "4", "2")
    assert told["torch"] == torch.__version__ and told["peak_tflops"] is None
    assert (told["rois"], told["frames"]) == (6, 32) and told["card"]
    assert [(c["size"], c["batch"], c["whole"]) for c in cases] == [
        ("tiny", 2, True), ("tiny", 4, True), ("tiny", 2, False),
    ]  # fmt: skip
    for case in cases:
        assert case["out_of_memory"] is False and case["mfu"] is None
        assert case["computing"] == {"precision": "fp32", "compile": False, "attention": "fused"}
        for name, kind in FIGURES.items():
            assert type(case[name]) is kind and case[name] > 0, name
        assert case["waiting_share"] < 1 <= case["slowest_over_median"]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[3].endswith("(fp32, ROIs and frames missing)")
    assert all("samples/s" in line and "waiting" in line for line in lines[1:])


@pytest.mark.slow
def test_where_memory_runs_out_smaller_batches_are_tried(bench, tmp_path, monkeypatch, capsys):
    advance, most = Training.advance, 2

    def full(training, batches):
        if len(batches[0].x) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return advance(training, batches)

    monkeypatch.setattr(Training, "advance", full)
    _, cases = run(bench, tmp_path, "--batches", "8", "16")
    whole = [(c["batch"], c["out_of_memory"]) for c in cases if c["whole"]]
    assert whole == [(8, True), (4, True), (2, False)]  # and 16 is not tried
    assert "samples_per_second" not in cases[0] and cases[2]["samples_per_second"] > 0
    assert "out of memory" in capsys.readouterr().out
    most = 8
    _, cases = run(bench, tmp_path, "--batches", "8", "16")
    assert [(c["batch"], c["out_of_memory"]) for c in cases if c["whole"]] == [
        (8, False), (16, True),
    ]  # fmt: skip


def test_without_a_gpu_it_says_so(bench, capsys, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    bench("bench_gpu").main(["--out", str(tmp_path / "told.json")])
    assert capsys.readouterr().out.startswith("No CUDA device here: nothing measured.")
    assert not (tmp_path / "told.json").exists()


def test_waiting_and_work_are_counted_by_hand(bench, monkeypatch):
    """A clock on which a step takes 1 s, its batch 3 s and a line of the log 5 s."""
    timed = bench("parts.timed_training")
    flops = bench("parts.flops")
    now = [0.0]
    monkeypatch.setattr(timed.time, "perf_counter", lambda: now[0])

    def advance(training, batches):
        now[0] += 1
        training.step += 1
        return torch.zeros(())

    monkeypatch.setattr(Training, "advance", advance)
    shape = BrainJepaSettings.preset("tiny", rois=6, frames=32, components=2)
    torch.manual_seed(0)
    model = BrainJEPA(shape, torch.randn(6, 2))
    draws = model.draw(MaskSettings(), seed=0, step=0, samples=range(2), token_valid=None)
    batch = Batch(torch.randn(2, 6, 32), None, draws)
    settings = TrainingSettings(schedule=ScheduleSettings(total_steps=100))
    training = timed.TimedTraining(model, settings, seconds=34)
    for step in range(20):
        try:
            training.advance([batch])
        except timed.Enough:
            break
        if step == 5:
            now[0] += 5
            training.logged({})
        now[0] += 3
    # Step 3 is the first that counts; it finds its batch there. 1 + 4 + 4 + 5 + 4 n > 34.
    assert training.steps() == [1.0] * 9 and training.waited() == 24.0
    assert training.seconds == 9 + 24 + 5 and training.people == 18
    sizes = (draws["context_index"].shape[-1], draws["target_index"].shape[-1])
    assert training.flops == pytest.approx(
        9 * sum(flops.step_flops(shape, *sizes, batch=2).values())
    )


@pytest.mark.parametrize(
    ("card", "precision", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", "bf16", 989.0),
        ("NVIDIA H100 80GB HBM3", "tf32", 494.5),
        ("NVIDIA H100 80GB HBM3", "fp32", None),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA H100 NVL", "bf16", 835.0),
        ("NVIDIA H200", "bf16", 989.0),
        ("NVIDIA H200 NVL", "bf16", 835.0),
        ("NVIDIA GH200 480GB", "bf16", 989.0),
        ("NVIDIA A100-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA A100 80GB PCIe", "bf16", 312.0),
        ("NVIDIA A10", "bf16", 125.0),
        ("NVIDIA A10G", "bf16", 70.0),
        ("NVIDIA L40S", "bf16", 362.0),
        ("NVIDIA L4", "bf16", 121.0),
        ("NVIDIA RTX 6000 Ada Generation", "bf16", 364.0),
        ("NVIDIA GeForce RTX 4090", "bf16", 165.2),
        ("Tesla V100-SXM2-32GB", "bf16", None),
        ("x86_64", "bf16", None),
    ],
)
def test_the_peak_is_that_of_the_board(bench, card, precision, peak):
    assert bench("parts.cards").peak_of(card, precision) == peak
