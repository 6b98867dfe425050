"""A model's encoder as ONNX, for programs without torch.

Shapes: B windows, R ROIs, T frames, N tokens of a window, D width of a token.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from brainjepa_core.arrays import Float32
from brainjepa_core.extras import require
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.models.registry import family_of
from brainjepa_core.problems import plainly

ENCODER = "encoder.onnx"
WINDOWS, TOKEN_VALID, TOKENS = "windows", "token_valid", "tokens"
CLOSE = 1e-4  # of the largest token, between torch and ONNX
TRACED, OTHER = 2, 3  # windows; a batch of another size shows that any is taken


class _Tokens(nn.Module):
    def __init__(self, model: BrainModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, windows: Tensor, token_valid: Tensor) -> Tensor:
        return self.model.tokens_of(windows, token_valid)


def write_onnx(model: BrainModel, path: Path) -> None:
    """Write ``windows`` float32 [B, R, T], ``token_valid`` bool [B, N] -> ``tokens`` [B, N, D].

    What was written is run beside torch before this returns.

    Raises
    ------
    ValueError
        If ONNX cannot hold the network, or computes something else from it.
    """
    require("onnx", "onnxruntime", "onnxscript")
    if model.settings.volumes is not None:
        raise _cannot(model, "it reads volumes, and what is written reads series of ROIs")
    model = model.eval()
    batch = {0: torch.export.Dim("batch", min=1)}
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)  # of torchvision, which nothing here needs
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Tokens(model),
                _sample(model, TRACED),
                dynamo=True,
                verbose=False,
                input_names=[WINDOWS, TOKEN_VALID],
                output_names=[TOKENS],
                dynamic_shapes={WINDOWS: batch, TOKEN_VALID: batch},
            )
        assert program is not None  # dynamo gives one
        program.save(str(path))
    except torch.onnx.OnnxExporterError as error:
        raise _cannot(model, "ONNX has no words for one of its steps") from error
    finally:
        log.setLevel(level)
    _require_same(model, path)


def run_onnx(path: str | Path, windows: Float32, token_valid: NDArray[np.bool_]) -> Float32:
    """Tokens [B, N, D] by ONNX's own runtime; `windows` and `token_valid` as `write_onnx` says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found: Float32 = session.run([TOKENS], {WINDOWS: windows, TOKEN_VALID: token_valid})[0]
    return found


def _sample(model: BrainModel, count: int) -> tuple[Tensor, Tensor]:
    """Noise, with the first ROI missing in the first window."""
    s = model.settings
    x = torch.randn(count, s.rois, s.frames, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(count, s.tokens, dtype=torch.bool)
    valid[0, : s.time_patches] = False
    return x, valid


def _require_same(model: BrainModel, path: Path) -> None:
    x, valid = _sample(model, OTHER)
    expected = model.encode(x, valid).numpy()
    try:
        found = run_onnx(path, x.numpy(), valid.numpy())
    except Exception as error:  # of the runtime, which has a class for each of its reasons
        raise _cannot(model, f"ONNX Runtime does not run it ({plainly(error)})") from error
    there = valid.numpy()
    apart, largest = np.abs(found - expected)[there].max(), np.abs(expected)[there].max()
    if not apart <= CLOSE * largest:  # nor if either is NaN
        raise _cannot(model, "ONNX Runtime computes other tokens from it")


def _cannot(model: BrainModel, why: str) -> ValueError:
    return ValueError(
        f"expected a network that ONNX can hold, found one of the family "
        f"'{family_of(model).name}': {why}; export it as safetensors"
    )
