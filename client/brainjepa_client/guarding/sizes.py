"""What a study asks of a site's machine: estimated from its settings, before anything is built.

Counted are, in 32-bit floats: weights, their target copy, gradients and AdamW's two moments; what
the backward pass keeps of each block (`models.sizes`), for every token of every mask of a
micro-batch. Masks leave out some tokens, and bf16 takes half: so a step needs about as much, or
less. A model that predicts connectivity keeps some matrices of it a person. Not counted are torch
itself (about a gigabyte on a GPU), the site's scans, and tables of positions.
"""

from __future__ import annotations

from dataclasses import dataclass

from brainjepa_core.pretraining.settings import PretrainingSettings

KEPT = 2  # rounds' states on disk: one that may be asked for again needs the one before it
FLOAT = 4  # bytes
MOMENTS = 2
# What a model that predicts connectivity keeps a person beside its blocks.
MATRICES, WINDOWS = 8, 24  # of all pairs of ROIs; of all frames


@dataclass(frozen=True)
class StudySize:
    """Of one study at one site.

    Attributes
    ----------
    weights : int
        Numbers that steps change, in the blocks of the networks and heads on pairs of ROIs.
    memory, disk : int
        Bytes of a step, and of the states on the disk while one more is written.
    """

    weights: int
    memory: int
    disk: int

    @classmethod
    def of(cls, study: PretrainingSettings, rois: int) -> StudySize:
        """Of a study with an atlas of so many ROIs."""
        shape, training = study.model_settings(rois), study.training
        weights = sum(network.weights for network in shape.networks) + shape.other_weights
        people = training.batch_size // training.accumulation
        masks = training.masks.masks_per_sample
        kept = people * masks * int(sum(network.kept for network in shape.networks))
        read = shape.other_kept
        if shape.predicts_rest:
            read += MATRICES * rois**2 + WINDOWS * rois * shape.frames
        memory = FLOAT * (weights * (3 + MOMENTS) + kept + people * read)
        return cls(weights, memory, FLOAT * weights * (MOMENTS + 1) * (KEPT + 1))
