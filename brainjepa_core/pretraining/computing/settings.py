"""How a machine computes steps is a site's choice; how exact that has to be is its study's.

Exact is float32 throughout, by the kernels that PyTorch takes by itself.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from brainjepa_core.settings import Frozen

REORDERED = 1e-5  # sums of float32 in another order
ROUNDED = {"fp32": 0.0, "tf32": 1e-3, "bf16": 1e-2}


class Computing(Frozen):
    """What the machine that computes steps may choose.

    Attributes
    ----------
    precision : {"fp32", "tf32", "bf16"}
        Of products and attention; weights, gradients and optimiser are float32. tf32 is a GPU's;
        bf16 is meant for GPUs, and many times slower on most processors.
    compile : bool
        Pass the loss through ``torch.compile``.
    attention : {"fused", "cudnn", "packed"}
        ``fused``: PyTorch's fused kernels, on a GPU without cuDNN's. ``cudnn``: with them; they
        need a plan for each new size of a mask. ``packed``: the same as ``fused`` without masks,
        and where scans lack ROIs or frames, variable-length attention to the tokens that are there
        (a GPU's, in bf16).
    """

    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    compile: bool = False
    attention: Literal["fused", "cudnn", "packed"] = "fused"

    @model_validator(mode="after")
    def _half_packs(self) -> Self:
        if self.attention == "packed" and self.precision != "bf16":
            raise ValueError(
                f"expected precision bf16 with attention packed, whose kernel knows no other, "
                f"found {self.precision}; set precision: bf16, or attention: fused"
            )
        return self

    @property
    def deviation(self) -> float:
        """How far a step's loss may be from the exact one, relative to it."""
        reordered = self.compile or self.attention != "fused"
        return max(ROUNDED[self.precision], REORDERED if reordered else 0.0)

    @property
    def in_words(self) -> str:
        """The choices that are not exact, as settings; or "fp32"."""
        choices = {
            f"precision: {self.precision}": self.precision != "fp32",
            "compile: true": self.compile,
            f"attention: {self.attention}": self.attention != "fused",
        }
        return " and ".join(words for words, chosen in choices.items() if chosen) or "fp32"

    def require_on(self, device: str) -> None:
        """Refuse what a kind of device cannot do.

        Raises
        ------
        ValueError
        """
        wrong = "attention: packed" if self.attention == "packed" else None
        wrong = "attention: cudnn" if self.attention == "cudnn" else wrong
        wrong = "precision: tf32" if self.precision == "tf32" else wrong
        if wrong and not device.startswith("cuda"):
            raise ValueError(
                f"expected a GPU for {wrong}, found device '{device}'; choose device cuda, or "
                "leave that out"
            )

    def require_within(self, tolerance: float) -> None:
        """Refuse choices that are further from exact than a study accepts.

        Raises
        ------
        ValueError
        """
        if self.deviation > tolerance:
            raise ValueError(
                f"expected steps computed to {tolerance:g} of exact fp32 or better, as the study "
                f"asks (training.tolerance), found {self.in_words}, which is to "
                f"{self.deviation:g}; {self._mend(tolerance)}"
            )

    def _mend(self, tolerance: float) -> str:
        fitting = [name for name, far in ROUNDED.items() if far <= tolerance]
        wanted = []
        if self.precision not in fitting:
            wanted.append(f"precision: {' or '.join(fitting)}")
        if tolerance < REORDERED and self.compile:
            wanted.append("compile: false")
        if self.attention != "fused" and (tolerance < REORDERED or "bf16" not in fitting):
            wanted.append("attention: fused")
        return f"set {', '.join(wanted)}"


EXACT = Computing()
