"""How a machine computes: what is refused, what it costs in exactness, what PyTorch is told."""

from __future__ import annotations

import pytest
import torch
from small_runs import People, make_model, make_recipe, make_training
from torch.backends import cuda, cudnn

from brainjepa_core.models.parts.packed import PackedAttention
from brainjepa_core.pretraining.computing.kernels import choose_attention, chosen_kernels
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.sampling import batches_of_step
from brainjepa_core.pretraining.step import Training

BF16 = Computing(precision="bf16")


@pytest.mark.parametrize(
    ("computing", "tolerance", "text"),
    [
        (
            BF16,
            0.001,
            r"^expected steps computed to 0\.001 of exact fp32 or better, as the study asks "
            r"\(training\.tolerance\), found precision: bf16, which is to 0\.01; "
            r"set precision: fp32 or tf32$",
        ),
        (Computing(precision="tf32"), 0.0, "found precision: tf32, .* set precision: fp32$"),
        (Computing(compile=True), 0.0, "found compile: true, which is to 1e-05; set compile: fal"),
        (
            Computing(precision="bf16", attention="packed"),
            0.001,
            "found precision: bf16 and attention: packed, .*; set precision: fp32 or tf32, "
            "attention: fused$",
        ),
        (Computing(attention="cudnn"), 1e-6, "found attention: cudnn, .*; set attention: fused$"),
    ],
)
def test_what_is_further_from_exact_than_the_study_accepts_is_refused(computing, tolerance, text):
    with pytest.raises(ValueError, match=text):
        computing.require_within(tolerance)
    computing.require_within(computing.deviation)


def test_exact_is_within_every_tolerance():
    EXACT.require_within(0.0)
    assert EXACT.deviation == 0.0 and EXACT.in_words == "fp32"


@pytest.mark.parametrize(
    ("choices", "text"),
    [
        ({"precision": "tf32"}, "expected a GPU for precision: tf32, found device 'cpu'; choose"),
        ({"precision": "bf16", "attention": "packed"}, "expected a GPU for attention: packed"),
        ({"attention": "cudnn"}, "expected a GPU for attention: cudnn, found device 'cpu'"),
    ],
)
def test_what_a_processor_cannot_do_is_refused(choices, text):
    with pytest.raises(ValueError, match=text):
        Training(make_model(), make_recipe(), computing=Computing(**choices))
    Computing(**choices).require_on("cuda:1")


def test_packed_attention_needs_bf16():
    text = "expected precision bf16 with attention packed, whose kernel knows no other, found fp32"
    with pytest.raises(ValueError, match=text):
        Computing(attention="packed")


def test_training_is_refused_before_its_first_step():
    with pytest.raises(ValueError, match=r"as the study asks \(training.tolerance\)"):
        make_training(computing=BF16, tolerance=0.001)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("attention", ["fused", "cudnn"])
def test_a_gpu_is_told_what_was_chosen_and_left_as_it_was(precision, attention):
    """These are flags, which a machine without a GPU has as well."""

    def flags() -> tuple[bool, ...]:
        products = cuda.matmul.allow_tf32, cudnn.allow_tf32
        return *products, cuda.cudnn_sdp_enabled(), cuda.flash_sdp_enabled()

    before = flags()
    chosen = Computing(precision=precision, attention=attention)
    with pytest.raises(KeyError), chosen_kernels(chosen, torch.device("cuda")):
        assert cuda.matmul.allow_tf32 == cudnn.allow_tf32 == (precision == "tf32")
        assert cuda.cudnn_sdp_enabled() == (attention == "cudnn")
        assert cuda.flash_sdp_enabled() and cuda.math_sdp_enabled()
        raise KeyError
    assert before == flags()


def test_a_model_is_given_the_kernel_that_was_chosen():
    model = make_model()
    choose_attention(model, Computing(precision="bf16", attention="packed"))
    kernels = [module.kernel for module in model.modules() if hasattr(module, "kernel")]
    assert len(kernels) == 3 and all(isinstance(kernel, PackedAttention) for kernel in kernels)
    choose_attention(model, EXACT)
    assert not any(isinstance(module.kernel, PackedAttention) for module in model.modules()
                   if hasattr(module, "kernel"))  # fmt: skip


def test_losses_of_bf16_are_within_what_is_said_of_it():
    """Of eight steps, each from the weights that its own steps have led to."""
    exact, half = make_training(), make_training(computing=BF16)
    for step in range(8):
        given = batches_of_step(People(ragged=True), exact.model, exact.settings, step)
        a, b = float(exact.advance(given)), float(half.advance(given))
        assert a != b and abs(a - b) <= BF16.deviation * a


@pytest.mark.slow
def test_losses_of_compiled_steps_are_within_what_is_said_of_them():
    compiled = Computing(compile=True)
    eager, other = make_training(), make_training(computing=compiled)
    for step in range(3):
        given = batches_of_step(People(ragged=True), eager.model, eager.settings, step)
        a, b = float(eager.advance(given)), float(other.advance(given))
        assert abs(a - b) <= compiled.deviation * a
