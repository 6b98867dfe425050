"""Where a token sits: in time by sines and cosines, on the brain by its functional gradients.

A position is ``[time half, ROI half]``, each D/2 wide (arXiv 2409.19407, section 3.2).

Shapes: B batch, R ROIs, W time patches, m components of the ROI basis, D width, N tokens.
Token index = roi * W + time patch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sine_cosine_table(length: int, width: int) -> Tensor:
    """Fixed positions [length, width]: first half sines, second half cosines.

    Frequencies are 1 / 10000^(k / (width / 2)), k = 0 .. width / 2 - 1 (Vaswani et al. 2017).

    Raises
    ------
    ValueError
        If `width` is odd.
    """
    if width % 2:
        raise ValueError(
            f"expected an even width for sines and cosines, found {width}; "
            "choose a model width that is a multiple of 4"
        )
    half = width // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


def interleaved_table(length: int, width: int) -> Tensor:
    """Fixed positions [length, width]: sines in even columns, cosines in odd ones.

    Frequencies are 1 / 10000^(2k / width) (Vaswani et al. 2017); an odd width ends in a sine.
    """
    columns = torch.arange(0, width, 2, dtype=torch.float64)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * 10000.0 ** (-columns / width)
    pairs = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
    return pairs[:, :width].float()


def min_max(x: Tensor) -> Tensor:
    """Scale each sample's [R, D/2] to [-1, 1] by one global minimum and maximum (published)."""
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    # A constant basis has no range: the published formula divides by zero, this one gives -1,
    # and gradients that stay finite.
    return 2 * (x - low) / (high - low).clamp_min(1e-6) - 1


def unit_rows(x: Tensor) -> Tensor:
    """Scale every ROI's vector to the root mean square of a sine: no ROI shrinks another."""
    return x * (2 * x.square().mean(-1, keepdim=True) + 1e-12).rsqrt()


SCALINGS = {"minmax": min_max, "rows": unit_rows}


class Positions(nn.Module):
    """Positions of tokens for one width; encoder and predictor each own one.

    Parameters
    ----------
    width : int
        D, a multiple of 4.
    time_patches : int
        W.
    rois : int
        R, read only without a basis.
    components : int
        m, columns of the ROI basis (gradients, or centroids) that the projection reads;
        0 for fixed sine-cosine positions of the ROI index (an ablation of the paper).
    scaling : {"minmax", "rows"}
        How the projected basis is brought to the amplitude of the time half.
    scale : float
        Amplitude of positions against content; 1 in the published model.
    """

    time_table: Tensor
    roi_table: Tensor

    def __init__(
        self,
        width: int,
        time_patches: int,
        rois: int,
        components: int,
        scaling: str,
        scale: float,
    ) -> None:
        super().__init__()
        self.time_patches = time_patches
        self.scaling = SCALINGS[scaling]
        self.scale = scale
        # The tables are functions of the settings, hence not in checkpoints.
        self.register_buffer(
            "time_table", sine_cosine_table(time_patches, width // 2), persistent=False
        )
        self.projection = nn.Linear(components, width // 2) if components else None
        if not components:
            self.register_buffer("roi_table", sine_cosine_table(rois, width // 2), persistent=False)

    def forward(self, basis: Tensor, index: Tensor | None = None) -> Tensor:
        """Positions of the tokens at `index` (of all tokens without it).

        Parameters
        ----------
        basis : Tensor [B, R, m]
            One copy of the ROI basis a sample (an expanded view): a shared [R, m] would give
            per-sample gradient hooks no sample axis, and silently wrong sums where R == B.
        index : Tensor [B, ..., N], optional

        Returns
        -------
        Tensor [B, ..., N, D]
        """
        if self.projection is None:
            roi_half = self.roi_table.expand(basis.shape[0], -1, -1)
        else:
            if self.scaling is unit_rows:
                # The unit of a basis (its eigenvalues' scale) must not decide how fast it learns.
                basis = basis * basis.square().mean((-2, -1), keepdim=True).clamp_min(1e-12).rsqrt()
            roi_half = self.scaling(self.projection(basis))
        if index is None:
            index = torch.arange(basis.shape[1] * self.time_patches, device=basis.device)
            index = index.expand(basis.shape[0], -1)
        sample = torch.arange(index.shape[0], device=index.device)
        sample = sample.reshape(-1, *[1] * (index.dim() - 1))
        roi, time = index // self.time_patches, index % self.time_patches
        positions = torch.cat([self.time_table[time], roi_half[sample, roi]], dim=-1)
        return positions if self.scale == 1.0 else self.scale * positions
