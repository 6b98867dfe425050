"""What an evaluation of a site costs beside a round of its training, counted and timed.

Counted: the windows that the embedder reads in an evaluation, and that a round's steps read; a step
reads a window at least once forward by the same network, and then its context, predictor and
backward pass. Timed: a round, a first evaluation and a second one, which finds what no weight
changes on the site's disk.

    python benchmarks/bench_evaluate.py                    # 600 people, tiny: under a minute
    python benchmarks/bench_evaluate.py --people 40000 --rois 20    # the largest site, minutes
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from parts.made_site import made_site, weights_and_components

from brainjepa_client.answering.at_hand import AtHand
from brainjepa_client.answering.site import Site
from brainjepa_core.evaluation import site_people
from brainjepa_core.models.interface import BrainModel
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import EVALUATE, TRAIN, Assignment, Reply, Request


def timed(site: Site, request: Request, read: list[int], network: list[float]) -> dict[str, Any]:
    """Seconds of an answer and of reading people for it, and windows that the embedder read."""
    read.clear()
    network.clear()
    wall, processor = time.perf_counter(), time.process_time()
    reply: Reply = site.answer(request)
    if reply.refusal:
        raise SystemExit(reply.refusal)
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "network_s": sum(network),
        "windows_read": sum(read),
        "people_not_read": reply.metrics.get("people_not_read"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=600)
    parser.add_argument("--rois", type=int, default=30)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--preset", default="tiny")
    parser.add_argument("--depth", type=int, help="of the network, where not the preset's")
    arguments = parser.parse_args()
    study = PretrainingSettings(
        preset=arguments.preset,
        model={} if arguments.depth is None else {"depth": arguments.depth},
        basis={"components": 10},
        training={
            "batch_size": arguments.batch,
            "schedule": {"total_steps": arguments.steps, "warmup_steps": 1},
        },
    )
    arrays = weights_and_components(study, arguments.rois)
    assignment = Assignment(study_id="bench", pretraining=study, steps=arguments.steps)
    read: list[int] = []
    encode = BrainModel.encode

    def counted(self: BrainModel, x: Any, *valid: Any) -> Any:
        read.append(len(x))
        return encode(self, x, *valid)

    def reading(*given: Any, **named: Any) -> Any:
        start = time.process_time()
        found = pooled(*given, **named)
        network.append(time.process_time() - start)
        return found

    network: list[float] = []
    pooled = site_people.pooled_features
    site_people.pooled_features = reading  # type: ignore[attr-defined]
    BrainModel.encode = counted  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        settings = made_site(Path(folder), arguments.people, arguments.rois)
        site = Site(settings, at_hand=AtHand())
        report = {
            "people": arguments.people,
            "round": timed(site, Request(TRAIN, assignment, arrays), read, network),
            "round_windows": arguments.steps * arguments.batch,
            "first": timed(site, Request(EVALUATE, assignment, arrays), read, network),
            "second": timed(site, Request(EVALUATE, assignment, arrays), read, network),
        }
    beside = [report[w]["processor_s"] - report[w]["network_s"] for w in ("first", "second")]
    report["second_to_first_without_network"] = beside[1] / beside[0]
    report["evaluation_to_round"] = report["second"]["processor_s"] / report["round"]["processor_s"]
    print(json.dumps(report, indent=1, default=float))


if __name__ == "__main__":
    main()
