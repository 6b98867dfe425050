"""What a message costs a site's process beside the work that it asks for: the first one, and later.

The message is an evaluation, whose work is reading people by the network, fitting probes and
adding up; a cold process imports, opens the store and aligns scans before. Beside the work is all
else of a later message: checks, the store's files, the model's weights, the audit log.

    python benchmarks/bench_warm.py                     # 60 people, tiny: seconds
    python benchmarks/bench_warm.py --preset small --rois 450
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from parts.made_site import made_site, weights_and_components

from brainjepa_client.answering.at_hand import AtHand
from brainjepa_client.answering.site import Site
from brainjepa_client.judging import yardstick
from brainjepa_core.evaluation.site_people import SitePeople
from brainjepa_core.pretraining.settings import PretrainingSettings
from brainjepa_core.wire.messages import EVALUATE, Assignment, Request
from brainjepa_core.wire.packing import pack_arrays, unpack_arrays

REPEATS = 5
IMPORT = "import time; t = time.process_time(); import brainjepa_client.deploying.worker; "
IMPORT += "print(time.process_time() - t)"


@contextmanager
def timed_work() -> Iterator[list[float]]:
    """Seconds spent in what the message asks for."""
    spent: list[float] = []

    def timing(function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return function(*given, **named)
            finally:
                spent.append(time.process_time() - start)

        return timed

    read, told, collapse = SitePeople.read, yardstick.told_of, yardstick._collapse
    SitePeople.read = timing(read)  # type: ignore[method-assign]
    yardstick.told_of, yardstick._collapse = timing(told), timing(collapse)
    try:
        yield spent
    finally:
        SitePeople.read = read  # type: ignore[method-assign]
        yardstick.told_of, yardstick._collapse = told, collapse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=60)
    parser.add_argument("--rois", type=int, default=100)
    parser.add_argument("--preset", default="tiny")
    arguments = parser.parse_args()
    study = PretrainingSettings(preset=arguments.preset, basis={"components": 10})
    packed = pack_arrays(weights_and_components(study, arguments.rois))
    imports = subprocess.run(
        [sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True
    )
    found: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder, timed_work() as spent:
        settings = made_site(Path(folder), arguments.people, arguments.rois)
        time.sleep(3)  # a store that was written just now is opened again
        at_hand = AtHand()
        for _ in range(1 + REPEATS):
            spent.clear()
            start = time.process_time()
            request = Request(
                EVALUATE, Assignment(study_id="bench", pretraining=study), unpack_arrays(packed)
            )
            reply = Site(settings, at_hand=at_hand).answer(request)
            if reply.refusal:
                raise SystemExit(reply.refusal)
            pack_arrays(reply.arrays)
            found.append((time.process_time() - start, sum(spent)))
    report = {
        "imports_s": float(imports.stdout),
        "first_message_beside_its_work_s": found[0][0] - found[0][1],
        "warm_message_beside_its_work_s": statistics.median(a - b for a, b in found[1:]),
        "work_s": statistics.median(b for _, b in found[1:]),
    }
    print(json.dumps({key: round(value, 4) for key, value in report.items()}, indent=1))


if __name__ == "__main__":
    main()
