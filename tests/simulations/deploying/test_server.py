"""A real SuperLink behind its proxy, three real sites: a study by commands, with the same bits."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployed import Deployed, said
from small_consortium import plan, run, same, weights

from brainjepa_core.chained_log import ChainedLog
from brainjepa_simulations.scenario import Scenario

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROUNDS = {"quorum": 3, "joining_time": 240, "deadline": 240}
NOT_YET = 2  # bytes of the answer that an object is known and not there


def chosen():
    """With a roster, for which a study waits no longer than it must."""
    planned = plan(3, steps=1, rounds=ROUNDS)
    planned["study"]["sites"] = ["site-01", "site-02", "site-03"]
    return Scenario.model_validate(planned)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The same study in one process."""
    return run(chosen(), tmp_path_factory.mktemp("runs") / "straight")


@pytest.fixture
def deployed(tmp_path) -> Iterator[Deployed]:
    made = Deployed(tmp_path, chosen())
    yield made
    made.clear()
    assert not made.processes()


def study_of(deployed: Deployed) -> Path:
    return deployed.consortium / "studies" / "small"


def test_a_study_over_tls_has_the_bits_of_one_in_one_process(deployed, straight):
    server = deployed.serve(deployed.folder / "study.yaml")
    sites = deployed.start_sites()
    assert deployed.ends(server, *sites) == 0, deployed.output()
    assert same(weights(study_of(deployed)), weights(straight)), deployed.output()
    assert all(site.poll() is None for site in sites)
    assert not deployed.processes("superlink_program") and not deployed.processes("deploying.proxy")
    code, text = said("server", "log", deployed.consortium)
    assert code == 0 and "site-01: train of study 'small', round 6" in text
    require_eight_requests_a_message(deployed)


def require_eight_requests_a_message(deployed: Deployed) -> None:
    """A message is found, fetched as six objects and confirmed, or announced and sent as six.

    That no message has more objects is held by ``engines/test_one_array.py``. Beside messages,
    sites look for them, and tell that they are there; an object that is not there yet is asked for
    again, and the answer that says so has two bytes.
    """
    received = (study_of(deployed) / "received.jsonl").read_text().splitlines()
    kinds = Counter(json.loads(line)["kind"] for line in received)
    assert kinds.keys() == {"describe", "gradients", "train", "evaluate"}
    asked: Counter[str] = Counter()
    for line in (deployed.consortium / "running" / "proxy.log").read_text().splitlines():
        if line.startswith("POST /v1/fleet/"):
            path, status, _, _, down, _ = line.removeprefix("POST /v1/fleet/").split()
            assert status == "200", line
            if path == "pull-object" and int(down) <= NOT_YET:
                continue
            asked["found" if path == "pull-messages" and int(down) else path] += 1
    messages = kinds.total()
    for once in ("found", "confirm-message-received", "push-messages"):
        assert asked[once] == messages, once
    for of_each_object in ("pull-object", "push-object"):
        assert 4 * messages < asked[of_each_object] <= 6 * messages, of_each_object


def call(
    port: int, path: str, context: ssl.SSLContext, method: str = "POST", shown: str | None = None
) -> int:
    """Status of a call by somebody who has the authority's certificate, and no key."""
    secret = {} if shown is None else {"authorization": f"Bearer {shown}"}
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}{path}",
        data=b"" if method == "POST" else None,
        method=method,
        headers={"content-type": "application/protobuf", **secret},
    )
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


# Flower asks nobody for a secret where it would be got: there are no details, and no token.
LOGINS = {
    "/v1/control/get-login-details": 200,
    "/v1/control/get-auth-tokens": 501,
}


def addresses_of(port: int) -> set[str]:
    """Local addresses, hexadecimal as in /proc, at which somebody listens on a port."""
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, _, number = local.partition(":")
            if int(number, 16) == port and state == "0A":
                found.add(address)
    return found


def test_who_has_the_kit_alone_reaches_nothing(deployed):
    server = deployed.serve()
    deployed.wait(lambda: deployed.status()["running"], server)
    deployed.wait(lambda: addresses_of(deployed.port), server)
    pki = deployed.consortium / "pki"
    site = ssl.create_default_context(cafile=pki / "ca.crt")
    here = ssl.create_default_context(cafile=pki / "loopback.crt")
    with urllib.request.urlopen(
        f"https://127.0.0.1:{deployed.link}/openapi.json", context=here, timeout=30
    ) as answer:
        paths = json.load(answer)["paths"]
    fleet = [path for path in paths if path.startswith("/v1/fleet/")]
    assert len(fleet) > 10 and len(paths) > 3 * len(fleet)
    for path in paths:
        for method in ("GET", "POST"):
            allowed = path in fleet and method == "POST"
            assert call(deployed.port, path, site, method) == (401 if allowed else 403), path
    assert call(deployed.port, "/docs", site, "GET") == 403
    assert addresses_of(deployed.link) == {"0100007F"}
    # Who has an account on the coordinator's machine reaches the SuperLink itself.
    secret = (deployed.consortium / "running" / "secret").read_text()
    for path in (path for path in paths if path.startswith(("/v1/control/", "/v1/runtime/"))):
        for shown in (None, "", secret[:-1], secret[::-1]):
            status = call(deployed.link, path, here, shown=shown)
            assert status == (LOGINS.get(path, 401)), (path, status)
    assert call(deployed.link, "/v1/control/list-nodes", here, shown=secret) == 200
    assert call(deployed.link, "/v1/runtime/acquire-task", here, shown=secret) == 401  # is signed
    with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
        call(deployed.port, "/v1/fleet/get-run", ssl.create_default_context())
    code, text = said("server", "stop", deployed.consortium)
    assert (code, text.strip()) == (0, "Stopped")
    assert deployed.ends(server) == 0 and not deployed.processes()


def rounds_done(deployed: Deployed) -> int:
    return deployed.status()["studies"]["small"]["round"]


def trained(deployed: Deployed) -> int:
    """Answers to rounds that have come: one more is in the middle of a round."""
    lines = ChainedLog(study_of(deployed) / "received.jsonl").lines()
    return sum(line["kind"] == "train" for line in lines)


def test_stopped_and_killed_and_started_again_it_has_the_same_bits(deployed, straight):
    sites = deployed.start_sites()
    server = deployed.serve(deployed.folder / "study.yaml")
    deployed.wait(lambda: deployed.status()["running"], server)
    deployed.wait(lambda: rounds_done(deployed) >= 1, server, *sites)
    assert deployed.connected() == set(deployed.sites)
    code, text = said("server", "start", deployed.consortium)
    assert code == 1 and "expected no server of" in text
    assert said("server", "stop", deployed.consortium)[0] == 0
    assert deployed.ends(server) == 75
    for victim in ("study_process", "superlink_program", "deploying.proxy", "server start"):
        assert not deployed.processes("brainjepa_server") and not deployed.processes("server start")
        before = trained(deployed)
        server = deployed.serve()
        deployed.wait(lambda: trained(deployed) > before, server, *sites)  # noqa: B023
        deployed.kill(victim)
        assert deployed.ends(server) == (-9 if victim == "server start" else 1)
        deployed.wait(lambda: not deployed.processes("superlink_program"))
    server = deployed.serve()
    assert deployed.ends(server, *sites) == 0, deployed.output()
    assert same(weights(study_of(deployed)), weights(straight))
    assert not deployed.processes("brainjepa_server") and not deployed.processes("server start")
    code, text = said("server", "start", deployed.consortium, deployed.folder / "study.yaml")
    assert code == 0 and "Study 'small' has ended" in text
