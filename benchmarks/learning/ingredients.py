"""Does a recipe learn people, or only look like it? The synthetic cohort knows the answer.

Pretrains on a synthetic cohort, then reads the known latent traits of *other* people (a cohort of
another seed) from their pooled embeddings by cross-validated ridge. Random weights under the same
pool are the zero of the scale; correlations of the networks' mean signals, which were told what
the networks are, stand for what perfect denoising would reach.

    python benchmarks/learning/ingredients.py                        the default, published
    python benchmarks/learning/ingredients.py --ablations --seeds 1  each one left out
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from brainjepa_core.evaluation.measure import (
    JOINT,
    Outcomes,
    measure_connectivity,
    measure_model,
    outcomes_of,
)
from brainjepa_core.evaluation.yardstick import embed_people
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.models.brain_jepa.model import BrainJEPA
from brainjepa_core.pretraining.metrics import effective_rank
from brainjepa_core.pretraining.sampling import batches_ahead
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.pretraining.site_sums.basis import connectivity_sum
from brainjepa_core.signals.storing.store import ScanStore
from brainjepa_core.signals.windows import Windows
from brainjepa_simulations.cohort.cohort import CohortSettings
from brainjepa_simulations.cohort.stores import write_cohort

COHORT: dict[str, Any] = {
    "sites": 4,
    "subjects_per_site": 75,
    "rois": 48,
    "networks": 6,
    "frames": 240,
    "signal_share": 0.25,
}
OTHER_PEOPLE = 1000  # added to the seed of the cohort that is measured
POOLS = ("mean", "network_covariance", JOINT)


def study_of(seed: int, steps: int, recipe: str, choices: dict[str, Any]) -> PretrainingSettings:
    """The study of one run; `choices` leave the recipe in one place."""
    sizes = {"width": 32, "depth": 2, "heads": 2}
    sizes |= {f"predictor_{name}": value for name, value in sizes.items()}
    choices = dict(choices)
    masks = {"mode": choices.pop("masks", "balanced"), "masks_per_sample": choices.pop("k", 2)}
    schedule = {"total_steps": steps, "warmup_steps": steps // 10, "lr": 2e-3, "start_lr": 1e-4}
    schedule |= {"final_lr": 2e-5, "final_weight_decay": 0.04, "ema": choices.pop("ema", 0.99)}
    return PretrainingSettings(
        recipe=recipe,
        model={**sizes, "patch": 16, **choices},
        windows={"frames": 80},
        basis={"components": 20},
        training={
            "seed": seed,
            "batch_size": 16,
            "clip_norm": 1.0,
            "masks": masks,
            "schedule": schedule,
        },
    )


def variants(ablations: bool) -> dict[str, tuple[str, dict[str, Any]]]:
    """Recipes to compare: name -> (recipe, what differs from it)."""
    rank = {"variance_weight": 1.0, "covariance_weight": 0.05}
    found: dict[str, tuple[str, dict[str, Any]]] = {
        "default": ("default", {}),
        "published": ("published", {"k": 1}),
    }
    if ablations:
        found |= {
            "position kept in targets": ("default", {"objective": {"remove_position": False}}),
            "no rank terms": (
                "default",
                {"objective": {"variance_weight": 0.0, "covariance_weight": 0.0}},
            ),
            "no covariance term": ("default", {"objective": {"covariance_weight": 0.0}}),
            "published start": ("default", {"start": "published"}),
            "global min-max positions": ("default", {"position_scaling": "minmax"}),
            "positions x 0.5": ("default", {"position_scale": 0.5}),
            "one mask a sample": ("default", {"k": 1}),
            "four masks a sample": ("default", {"k": 4}),
            "slower target (0.998)": ("default", {"ema": 0.998}),
            "multiblock masks": ("default", {"masks": "multiblock"}),
            "anti-collapse on the published recipe": ("published", {"objective": rank, "k": 1}),
        }
    return found


def run(job: tuple[str, str, dict[str, Any], int, int]) -> list[dict[str, Any]]:
    """Train one recipe under one seed and measure it beside its own random weights."""
    name, recipe, choices, seed, steps = job
    torch.set_num_threads(1)
    study = study_of(seed, steps, recipe, choices)
    with TemporaryDirectory() as folder:
        seen = _windows(CohortSettings(seed=seed, **COHORT), Path(folder) / "seen", study)
        others = CohortSettings(seed=seed + OTHER_PEOPLE, **COHORT)
        unseen = _windows(others, Path(folder) / "unseen", study)
        total = connectivity_sum(seen)
        basis = ConsensusBasis.from_sum(total, study.basis.components)
        everything = outcomes_of(unseen, total.mean_fc())
        outcomes = Outcomes(
            {"latents": everything.groups["latents"]}, everything.people, everything.folds
        )
        training = study.new_training(basis, "cpu")
        rows = list(_describe("random weights", name, training.model, unseen, outcomes))
        began, losses = time.perf_counter(), []
        for batches in batches_ahead(seen, training.model, study.training, range(steps)):
            losses.append(training.advance(batches))
        seconds = time.perf_counter() - began
        rows += _describe("pretrained", name, training.model, unseen, outcomes)
        rows += [
            {"model": "connectivity", "recipe": name, "pool": "networks", "r2": row.r2}
            for row in measure_connectivity(unseen, outcomes, unseen.atlas.network_index)
        ]
    facts = {"seed": seed, "seconds": seconds, "loss": float(torch.stack(losses[-50:]).mean())}
    return [{**row, **facts} for row in rows]


def _windows(settings: CohortSettings, folder: Path, study: PretrainingSettings) -> Windows:
    stores = [ScanStore.open(path) for path in write_cohort(settings, folder)]
    return study.windows_of(stores)


def _describe(
    name: str, recipe: str, model: BrainJEPA, windows: Windows, outcomes: Outcomes
) -> Iterator[dict[str, Any]]:
    pooled = embed_people(model, windows, outcomes.people)["mean"]
    rank = float(effective_rank(torch.from_numpy(pooled)))
    for row in measure_model(name, model, windows, outcomes):
        if row.pool in POOLS:
            yield {"model": name, "recipe": recipe, "pool": row.pool, "r2": row.r2, "rank": rank}


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: mean and spread over seeds of each recipe, pool by pool."""
    seeds = sorted({row["seed"] for row in rows})
    cells: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    facts: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        cells[row["recipe"], row["model"], row["pool"]].append(row["r2"])
        facts[row["recipe"], row["model"]].append(row)
    lines = [
        f"R2 of {len(seeds)} seeds, mean (standard deviation)",
        "",
        "| recipe | model | " + " | ".join(POOLS) + " | effective rank | last loss | s |",
        "|---|---|" + "---|" * (len(POOLS) + 3),
    ]
    for (recipe, model), found in facts.items():
        if model == "connectivity":
            continue
        shown = [_mean_sd(cells[recipe, model, pool]) for pool in POOLS]
        rank, loss, seconds = (
            f"{np.mean([f[key] for f in found]):.3g}" for key in ("rank", "loss", "seconds")
        )
        if model == "random weights":
            loss = seconds = ""
        lines.append(f"| {recipe} | {model} | {' | '.join(shown)} | {rank} | {loss} | {seconds} |")
    reached = [row["r2"] for row in rows if row["model"] == "connectivity"]
    lines.append(f"\nCorrelations of network means (told the networks): {_mean_sd(reached)}")
    return "\n".join(lines)


def _mean_sd(values: list[float]) -> str:
    spread = f" ({np.std(values, ddof=1):.3f})" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def main() -> None:
    """Run the recipes on two processes and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--ablations", action="store_true")
    parser.add_argument("--only", nargs="*", help="names of recipes")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    chosen = variants(arguments.ablations)
    jobs = [
        (name, recipe, choices, seed, arguments.steps)
        for seed in range(arguments.seeds)
        for name, (recipe, choices) in chosen.items()
        if not arguments.only or name in arguments.only
    ]
    began = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        rows = [row for part in pool.map(run, jobs) for row in part]
    print(table(rows))
    print(f"\n{len(jobs)} runs in {time.perf_counter() - began:.0f} s on two processes")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
