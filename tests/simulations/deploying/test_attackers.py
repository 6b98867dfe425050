"""Who has a kit, an admitted key, or the line in between: what they get of a real deployment."""

from __future__ import annotations

import base64
import itertools
import os
import re
import shutil
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import yaml
from captured import capturing, replayed
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from deployed import Deployed, said
from flwr.proto.fleet_pb2 import PullMessagesResponse
from flwr.supercore.primitives.asymmetric import public_key_to_bytes
from small_consortium import same, weights

from brainjepa_client.deploying.flower_parts import Tasks
from brainjepa_client.deploying.joining import KEY
from brainjepa_client.deploying.preflight import preflight
from brainjepa_client.deploying.run_folder import RunFolder
from brainjepa_client.settings import SiteSettings
from brainjepa_core.chained_log import ChainedLog
from brainjepa_core.consortium.keys import load_key
from brainjepa_core.settings import read_settings
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PULL = "pull-messages"


def other_place(deployed: Deployed, like: str, new: str, name: str) -> Path:
    """The YAML of another machine, with the store of a site and a state folder of its own."""
    settings = yaml.safe_load(deployed.yaml(like).read_text())
    settings |= {"name": name, "state": str(deployed.folder / "site-state" / new)}
    path = deployed.yaml(new)
    path.write_text(yaml.safe_dump(settings))
    return path


def state_of(path: Path) -> Path:
    return read_settings(path, SiteSettings).state


def failing(path: Path) -> list[str]:
    return [row.check for row in preflight(read_settings(path, SiteSettings)) if row.mend]


def refused(deployed: Deployed, name: str) -> bool:
    return deployed.part(name, "supernode").startswith("refused by the coordinator")


def test_one_key_is_one_site_and_its_tasks_need_the_secret(deploy):
    deployed = deploy()
    server, (site,) = deployed.serve(), deployed.start_sites("site-01")
    deployed.wait(lambda: deployed.status()["running"], server)
    deployed.wait(lambda: deployed.connected() == {"site-01"}, server, site)

    # The same key on a second machine.
    twin = other_place(deployed, "site-01", "twin", "site-01")
    state_of(twin).mkdir(parents=True)
    for path in state_of(deployed.yaml("site-01")).glob("*.k*"):
        shutil.copy2(path, state_of(twin))
    assert failing(twin) == ["admission"]
    (second,) = deployed.start_sites("twin")
    deployed.wait(lambda: refused(deployed, "twin"), server, site, second)

    # The same name, and a key of its own.
    other = other_place(deployed, "site-01", "other", "site-01")
    code, text = joined(deployed, other)
    assert code == 1 and "expected the key that site 'site-01' was admitted with (" in text
    assert failing(other) == ["admission"]
    (third,) = deployed.start_sites("other")
    deployed.wait(lambda: refused(deployed, "other"), server, site, second, third)
    assert deployed.connected() == {"site-01"}

    # Somebody with an account on the site's machine.
    (process,) = deployed.processes("supernode_program", "site-state/site-01/")
    words = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    address = f"127.0.0.1:{words[words.index(b'--port') + 1].decode()}"
    assert httpx.post(f"http://{address}/v1/runtime/acquire-task").is_client_error
    with Tasks(address, b"x" * 32) as guessed, pytest.raises(ValueError, match="that refuses it"):
        guessed.take()
    with Tasks(address, RunFolder(state_of(deployed.yaml("site-01"))).secret.read_bytes()) as known:
        assert known.take() is None  # it is let in: no task is there

    # A signature of the site's own key is good for a while, and no longer.
    key = load_key(state_of(deployed.yaml("site-01")) / KEY, "")
    for seconds, status in ((-310, 401), (-290, 412), (0, 412), (20, 401)):
        assert activated(deployed, key, seconds) == status  # 412: believed, and there already
    assert activated(deployed, ec.generate_private_key(ec.SECP384R1()), 0) == 412
    for name in ("site-01", "twin", "other"):
        assert said("site", "stop", deployed.yaml(name)) == (0, "stopped\n")
    assert said("server", "stop", deployed.consortium)[0] == 0
    assert [p.wait(60) for p in (site, second, third, server)] == [0] * 4
    assert not deployed.processes()


def joined(deployed: Deployed, path: Path) -> tuple[int, str]:
    """Join from another place, and ask to be admitted."""
    from brainjepa_core.consortium.kit import read_kit

    kit, here = deployed.consortium / "kit", Path.cwd()
    os.chdir(deployed.folder)
    try:
        code, text = said("site", "join", kit, path, "--fingerprint", read_kit(kit).fingerprint)
    finally:
        os.chdir(here)
    assert code == 0, text
    request = deployed.folder / f"{read_settings(path, SiteSettings).name}.request"
    return said("server", "admit", request, "--dir", deployed.consortium)


def activated(deployed: Deployed, key: ec.EllipticCurvePrivateKey, seconds: float) -> int:
    """Status of a call to be let in, signed as if it were some seconds from now."""
    from flwr.proto.fleet_pb2 import ActivateNodeRequest

    time = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    public = public_key_to_bytes(key.public_key())
    signature = key.sign(time.encode(), ec.ECDSA(hashes.SHA256()))
    request = urllib.request.Request(
        f"https://127.0.0.1:{deployed.port}/v1/fleet/activate-node",
        ActivateNodeRequest(public_key=public, heartbeat_interval=30).SerializeToString(),
        {
            "content-type": "application/protobuf",
            "flwr-public-key": base64.b64encode(public).decode(),
            "flwr-timestamp": time,
            "flwr-signature": base64.b64encode(signature).decode(),
        },
    )
    trusted = ssl.create_default_context(cafile=deployed.consortium / "pki" / "ca.crt")
    try:
        with urllib.request.urlopen(request, context=trusted, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_a_changed_store_an_impostor_and_replayed_calls(deploy, straight, monkeypatch):
    deployed = deploy(joining_time=60)
    study = yaml.safe_load((deployed.folder / "study.yaml").read_text()) | {"sites": []}
    (deployed.folder / "study.yaml").write_text(yaml.safe_dump(study))
    # An admitted site takes the name of another one after it was admitted.
    place = other_place(deployed, "site-01", "site-04", "site-04")
    assert joined(deployed, place)[0] == 0
    deployed.sites.append("site-04")
    deployed.agree()
    other_place(deployed, "site-01", "site-04", "site-01")
    scans = read_settings(deployed.yaml("site-03"), SiteSettings).store / "scans.jsonl"
    approved = scans.read_bytes()
    scans.write_bytes(b"".join(approved.splitlines(keepends=True)[:-1]))  # somebody has withdrawn

    sites = deployed.start_sites()
    server = deployed.serve(deployed.folder / "study.yaml")
    assert deployed.ends(server, *sites) == 1
    told = deployed.output()
    assert "expected at least 3 sites that fit together (rounds.quorum), found 2" in told
    assert "site-03: the store of this site is another one than when its manager approved" in told
    # By its own roster already; a program that skips that is met by tests/server/rounds.
    assert re.search(
        r"site-04: contract \w{12} has another key under this site's name; admit", told
    )
    scans.write_bytes(approved)

    # In the second round, all that sites have said until the first one's end comes once more.
    folder = ConsortiumFolder.open(deployed.consortium)
    deployed.meddle("site-02", "train", "-", "hold")
    server = deployed.serve("--no-proxy")
    with capturing(folder, deployed.port, deployed.link, monkeypatch) as captured:
        deployed.wait(lambda: deployed.met("site-02", "train", "held"), server, *sites)
        # Each site has its question: one that still lay there would go to who asks first.
        trained = ("site-01", "site-03")
        deployed.wait(lambda: all(len(deployed.steps(n)) == 6 for n in trained), server, *sites)
        first = itertools.takewhile(lambda one: b"train-2" not in one[1], list(captured.requests))
        sent = [
            (path_of(one), *replayed(one, deployed.link, folder.loopback_certificate))
            for one in first
            if path_of(one) not in ("activate-node", "deactivate-node")
        ]
        deployed.let_go("site-02", "train")
        code = deployed.ends(server, *sites)
    assert code == 0, deployed.output()
    # Each is believed, for a signature covers the time alone; no question is handed out again.
    assert {path for path, status, _ in sent if status == 200} >= {"push-messages", PULL}
    pulled = [body for path, status, body in sent if (path, status) == (PULL, 200)]
    assert not any(PullMessagesResponse.FromString(body).messages_list for body in pulled)
    assert same(weights(deployed.study), straight)
    assert list(deployed.status()["studies"]["small"]["left_out"]) == ["site-04"]
    answers = [
        (line["site"], line["kind"], line["round"])
        for line in ChainedLog(deployed.study / "received.jsonl").lines()
        if line["kind"] == "train" and not line["refusal"]
    ]
    assert len(answers) == len(set(answers)) == 6


def path_of(request: tuple[bytes, bytes]) -> str:
    return re.match(rb"POST /v1/fleet/(\S+)", request[0])[1].decode()
