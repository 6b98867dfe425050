"""What a study asks of a site's machine: estimated from its settings, before anything is built.

Counted are, in 32-bit floats: weights, their target copy, gradients and AdamW's two moments; what
the backward pass keeps of each block (inputs of its two norms and four linear maps, queries, keys
and values, twice the inner layer), for every token of every mask of a micro-batch. Masks leave out
some tokens, and bf16 takes half: so a step needs about as much, or less. A model that predicts
connectivity keeps some matrices of it a person. Not counted are torch itself (about a gigabyte on a
GPU), the site's scans, and tables of positions.

Shapes: D width and L depth of a network, r its inner layer over its width, N tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from brainjepa_core.pretraining.settings import PretrainingSettings

KEPT = 2  # rounds' states on disk: one that may be asked for again needs the one before it
FLOAT = 4  # bytes
MOMENTS = 2
MATRICES = 8  # of all pairs of ROIs, that a model which predicts connectivity keeps a person
USUAL_RATIO = 4.0  # r where a family does not say


@dataclass(frozen=True)
class StudySize:
    """Of one study at one site.

    Attributes
    ----------
    weights : int
        Numbers that steps change, in the blocks of the networks.
    memory, disk : int
        Bytes of a step, and of the states on the disk while one more is written.
    """

    weights: int
    memory: int
    disk: int

    @classmethod
    def of(cls, study: PretrainingSettings, rois: int) -> StudySize:
        """Of a study with an atlas of so many ROIs."""
        shape = study.model_settings(rois)
        sizes, training = shape.model_dump(), study.training
        ratio = sizes.get("mlp_ratio", USUAL_RATIO)
        networks = [
            (width, sizes.get(f"{name.removesuffix('width')}depth", 1))
            for name, width in sizes.items()
            if name.endswith("width") and width
        ]
        weights = int(sum(depth * (4 + 2 * ratio) * width**2 for width, depth in networks))
        kept = sum(depth * (8 + 2 * ratio) * width for width, depth in networks)
        people = training.batch_size // training.accumulation
        tokens = people * training.masks.masks_per_sample * shape.tokens
        pairs = people * MATRICES * rois**2 if shape.predicts_rest else 0
        memory = FLOAT * (weights * (3 + MOMENTS) + int(tokens * kept) + pairs)
        return cls(weights, memory, FLOAT * weights * (MOMENTS + 1) * (KEPT + 1))
