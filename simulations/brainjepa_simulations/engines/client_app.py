"""The sites' ClientApp, and what a scenario says goes wrong at some of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml
from flwr.app import Array, ArrayRecord, Context, Message
from flwr.clientapp import ClientApp

from brainjepa_client.answering.app import app as real_app
from brainjepa_core.arrays import Arrays
from brainjepa_core.wire.packing import PACKED, buffer_in, pack_arrays, unpack_arrays
from brainjepa_simulations.scenario import FaultSettings

FAULTS = "faults.yaml"


class VirtualClientApp(ClientApp):
    """`brainjepa_client.answering.app`, at sites that may drop out or send poisoned weights."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message, or fail at it."""
        kind, _, round_number = message.metadata.group_id.partition("-")
        if kind != "train":
            return real_app(message, context)
        folder = Path(str(context.run_config["virtual-sites"]))
        faults = FaultSettings(**yaml.safe_load((folder.parent / FAULTS).read_text()))
        number = int(context.node_config["partition-id"]) + 1
        if int(round_number) in faults.dropouts.get(number, ()):
            raise ConnectionError("the site dropped out")
        if number not in faults.poison:
            return real_app(message, context)
        before = unpack_arrays(buffer_in(message.content.array_records["arrays"][PACKED].data))
        reply = real_app(message, context)
        sent = unpack_arrays(buffer_in(reply.content.array_records["arrays"][PACKED].data))
        poisoned = pack_arrays(_poisoned(faults.poison[number], sent, before))
        reply.content["arrays"] = ArrayRecord({PACKED: Array(poisoned)})
        return reply


app = VirtualClientApp()


def _poisoned(kind: str, sent: Arrays, before: Arrays) -> Arrays:
    if kind == "garbage":
        return {"weights": np.zeros(3)}
    poisoned = {}
    for name, value in sent.items():
        move = value - before[name]
        bad = {
            "nan": np.full_like(value, np.nan),
            "huge": before[name] + 1000 * move,
            "flip": before[name] - move,
        }[kind]
        poisoned[name] = bad
    return poisoned
