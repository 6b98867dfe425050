"""The Flower ClientApp of a site: messages in, `Site.answer`, messages out."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from brainjepa_client.answering.at_hand import AtHand
from brainjepa_client.answering.site import Site
from brainjepa_core.arrays import Arrays
from brainjepa_core.wire.messages import (
    CONTRACTS,
    DESCRIBE,
    EVALUATE,
    GRADIENTS,
    SUM,
    TRAIN,
    Assignment,
    Reply,
    Request,
    SumStep,
)
from brainjepa_core.wire.packing import PACKED, buffer_in, pack_arrays, unpack_arrays

app = ClientApp()
_at_hand = AtHand()  # of this process, from one message to the next


@app.query(DESCRIBE)
def describe(message: Message, context: Context) -> Message:
    """What this site has, in rounded numbers."""
    return _answer(DESCRIBE, message, context)


@app.query(GRADIENTS)
def gradients(message: Message, context: Context) -> Message:
    """The site's summed connectivity."""
    return _answer(GRADIENTS, message, context)


@app.train()
def train(message: Message, context: Context) -> Message:
    """One round of local steps."""
    return _answer(TRAIN, message, context)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """What ridge probes need of the site's people, summed."""
    return _answer(EVALUATE, message, context)


def _answer(kind: str, message: Message, context: Context) -> Message:
    try:
        # Read anew, so that a policy that was tightened holds from the next request on.
        settings = _at_hand.settings(_settings_path(context))
        contracts = CONTRACTS in context.node_config or CONTRACTS in context.run_config
        site = Site(settings, contracts=contracts, at_hand=_at_hand)
        reply = site.answer(_request(kind, message))
    except Exception as error:  # Flower would send its text to the coordinator, paths included
        traceback.print_exc()  # to the SuperNode's own log: without settings there is no other
        reply = Reply(refusal=f"the site failed in {kind} ({type(error).__name__}); see its log")
    return Message(_to_records(reply), reply_to=message)


def _request(kind: str, message: Message) -> Request:
    told = message.content.config_records["assignment"]
    assignment = Assignment.model_validate_json(str(told["json"]))
    part = None
    if isinstance(given := told.get(SUM), bytes):
        attempt, question = int(str(told["attempt"])), str(told["question"])
        fields = unpack_arrays(np.frombuffer(given, np.uint8))
        part = SumStep(str(told["step"]), attempt, question, fields)
    arrays: Arrays = {}
    if part is None or "arrays" in message.content.array_records:
        arrays = unpack_arrays(buffer_in(message.content.array_records["arrays"][PACKED].data))
    return Request(kind, assignment, arrays, str(told.get("contract", "")), part)


def _settings_path(context: Context) -> Path:
    """The site's YAML: named by the SuperNode, or by number in a folder of virtual sites."""
    if "site-yaml" in context.node_config:
        return Path(str(context.node_config["site-yaml"]))
    folder = Path(str(context.run_config["virtual-sites"]))
    return sorted(folder.glob("*.yaml"))[int(context.node_config["partition-id"])]


def _to_records(reply: Reply) -> RecordDict:
    config = ConfigRecord({"refusal": reply.refusal, **reply.metrics})
    arrays = ArrayRecord({PACKED: Array(pack_arrays(reply.arrays))})
    return RecordDict({"reply": config, "arrays": arrays})
