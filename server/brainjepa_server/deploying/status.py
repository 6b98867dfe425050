"""What a consortium's server does: who is connected, and how far its study is."""

from __future__ import annotations

from typing import Any

from brainjepa_core.consortium.fingerprints import of_key
from brainjepa_server.consortium.admission import Keys, admitted_sites
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder
from brainjepa_server.consortium.studies import is_finished, study_names
from brainjepa_server.deploying.running import RunningFolder
from brainjepa_server.deploying.superlink import SuperLink, SuperLinkAway
from brainjepa_server.record.history import SUMMARY, read_history

Status = dict[str, Any]


def server_status(folder: ConsortiumFolder) -> Status:
    """The state of a consortium as JSON has it.

    Returns
    -------
    dict
        ``running``; ``study``, the one at work or None; ``sites``, whether each is connected, None
        where nobody can know; ``studies`` by name: ``finished``, ``round`` and ``rounds``, the last
        ``loss``, and ``left_out`` with reasons.
    """
    running, sites = RunningFolder(folder.path), admitted_sites(folder)
    server = running.server()
    connected = {} if server is None else _connected(folder, running, server.port, sites)
    return {
        "running": server is not None,
        "study": server.study if server is not None else None,
        "sites": {name: connected.get(name) for name in sites},
        "studies": {name: _study(folder, name) for name in study_names(folder)},
    }


def _connected(
    folder: ConsortiumFolder, running: RunningFolder, port: int, sites: Keys
) -> dict[str, bool]:
    """Which sites are connected; none is known of a SuperLink that begins or ends."""
    try:
        link = SuperLink(port, folder.loopback_certificate, running.secret.read_bytes())
    except FileNotFoundError:
        return {}
    try:
        nodes = {node.key: node.connected for node in link.nodes()}
        return {name: nodes[of_key(key)] for name, key in sites.items() if of_key(key) in nodes}
    except SuperLinkAway:
        return {}
    finally:
        link.close()


def _study(folder: ConsortiumFolder, name: str) -> Status:
    path = folder.studies / name
    if not (path / SUMMARY).exists():
        return {"finished": False, "round": 0, "rounds": None, "loss": None, "left_out": {}}
    history = read_history(path)
    last = history.rounds[-1] if history.rounds else None
    return {
        "finished": is_finished(folder, name),
        "round": last.number if last else 0,
        "rounds": history.total_rounds,
        "loss": last.loss if last else None,
        "left_out": {**history.left_out, **(last.rejected if last else {})},
    }


def status_in_words(status: Status) -> list[str]:
    """The same for people, line by line."""
    lines = ["The server runs" if status["running"] else "The server does not run"]
    for name, connected in status["sites"].items():
        known = {True: "connected", False: "not connected", None: "not known"}
        lines.append(f"  site {name}: {known[connected]}")
    for name, study in status["studies"].items():
        here = ", at work" if name == status["study"] else ""
        state = "finished" if study["finished"] else f"not finished{here}"
        rounds = "" if study["rounds"] is None else f" of {study['rounds']}"
        loss = "" if study["loss"] is None else f", loss {study['loss']:.4f}"
        lines.append(f"Study {name}: {state}, round {study['round']}{rounds}{loss}")
        lines += [f"  left out {site}: {why}" for site, why in study["left_out"].items()]
    return lines
