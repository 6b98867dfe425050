"""The round's global model, from the weights of a request."""

from __future__ import annotations

import torch

from brainjepa_client.guarding.policy import Refusal
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.wire.messages import BASIS, TRAIN, Request


def model_of(request: Request, rois: int) -> BrainModel:
    """Build the model that a request carries, on the CPU.

    Parameters
    ----------
    request : Request
        With the study's settings, ``basis`` and weights by name: every one to train, else those
        that embedding reads; the others are then zeros.
    rois : int
        R of the site's atlas.

    Raises
    ------
    Refusal
        If basis or weights are not those of the study's model for this many ROIs.
    """
    settings = request.assignment.pretraining.model_settings(rois)
    basis = request.arrays.get(BASIS)
    shape = [rois, settings.components]
    if basis is None or list(basis.shape) != shape or basis.dtype != "float32":
        found = "none" if basis is None else f"{basis.dtype} of shape {list(basis.shape)}"
        raise Refusal(
            f"expected a float32 basis of shape {shape} (this site's atlas has {rois} ROIs), found "
            f"{found}; give all sites one atlas"
        )
    family = request.assignment.pretraining.model_family
    model = family.undrawn(settings, basis)
    shapes = {k: (tuple(v.shape), "float32") for k, v in model.state_dict().items() if k != BASIS}
    arrays = {k: v for k, v in request.arrays.items() if k in shapes}
    found_shapes = {k: (v.shape, str(v.dtype)) for k, v in arrays.items()}
    needed = shapes if request.kind == TRAIN else family.model.roles.read(shapes)
    wrong = sorted(k for k in needed if shapes[k] != found_shapes.get(k))
    if wrong:
        raise Refusal(
            f"expected {len(needed)} float32 weights of the study's model, found {len(wrong)} "
            f"missing or of another shape or dtype ({', '.join(wrong[:3])}); "
            "check study and versions"
        )
    weights = {k: torch.zeros(shapes[k][0]) for k in shapes.keys() - set(needed)}
    weights |= {k: torch.tensor(arrays[k]) for k in needed}
    model.load_state_dict({BASIS: model.basis, **weights}, assign=True)
    return model
