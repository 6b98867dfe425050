"""Before a start: one thing wrong at a time, and that row alone says so, and how to mend it."""

from __future__ import annotations

import http.server
import ipaddress
import os
import select
import shutil
import socket
import ssl
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flwr.proto.fleet_pb2 import ActivateNodeResponse, DeactivateNodeResponse
from made_consortium import NOW
from running_sites import write_site
from stand_in_slurm import Cluster
from typer.testing import CliRunner

from brainjepa_client.approving.membership import KEY, KIT
from brainjepa_client.cli import app
from brainjepa_client.deploying import preflight as preflight_module
from brainjepa_client.deploying.flower_parts import FLOWER
from brainjepa_client.deploying.joining import join
from brainjepa_client.deploying.preflight import preflight
from brainjepa_client.deploying.run_folder import RunFolder
from brainjepa_client.settings import SiteSettings
from brainjepa_core.consortium.kit import Kit, read_kit
from brainjepa_core.settings import read_settings
from brainjepa_core.version import VERSION
from brainjepa_server.consortium.consortium_folder import set_up

HOST = "127.0.0.1"
CHECKS = [
    "versions", "kit and key", "other start", "proxy", "connection", "certificate", "/v1/fleet",
    "/v1/control", "clock", "admission", "store", "state", "device", "slurm",
]  # fmt: skip


class Doors(http.server.BaseHTTPRequestHandler):
    """What a coordinator's proxy with its SuperLink answers; `server.faults` changes it."""

    def do_POST(self) -> None:
        faults = self.server.faults
        if self.headers["Content-Type"] != "application/protobuf":
            self.answer(415, b"")
        elif not self.path.startswith("/v1/fleet/"):
            self.answer(faults.control, b"")
        elif "flwr-public-key" not in str(self.headers).lower().replace("_", "-"):
            self.answer(faults.fleet, b"")
        elif self.path.endswith("/activate-node"):
            response = ActivateNodeResponse(node_id=5).SerializeToString()
            self.answer(faults.admission, response if faults.admission == 200 else b"{}")
        else:
            self.answer(200, DeactivateNodeResponse().SerializeToString())

    def answer(self, status: int, content: bytes) -> None:
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response_only(status)
        if self.server.faults.clock is not None and status in (200, 401, 412):  # of the SuperLink
            now = datetime.now(UTC) + timedelta(seconds=self.server.faults.clock)
            self.send_header("Date", format_datetime(now, usegmt=True))
        self.send_header("Content-Type", "application/protobuf")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    """A coordinator on loopback, with TLS."""

    def __init__(self) -> None:
        super().__init__((HOST, 0), Doors)
        self.faults = SimpleNamespace(control=403, fleet=401, admission=200, clock=0.0)

    def secure(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )

    def handle_error(self, *_: object) -> None:
        pass  # a client that refuses the certificate


class Place:
    """A site that has joined, and its coordinator's server."""

    def __init__(self, folder: Path, store: Path) -> None:
        self.folder, self.server = folder, Server()
        self.pki = folder / "c" / "pki"
        set_up(
            folder / "c", [HOST], name="Three hospitals", port=self.server.server_port, now=NOW
        )  # fmt: skip
        self.yaml = write_site(folder / "site", store, "Lyon", policy=self.policy())
        self.state = folder / "site" / "state"
        self.kit = read_kit(folder / "c" / "kit")
        join(self.kit, "Lyon", self.state, folder)
        self.certificate, self.key = self.pki / "server.crt", self.pki / "server.key"
        self.tls = True

    @staticmethod
    def policy(**more: int) -> dict[str, int]:
        return {"min_subjects": 4, "max_width": 64, "max_depth": 2, **more}

    def site(self, **more: object) -> None:
        write_site(self.folder / "site", read_settings(self.yaml, SiteSettings).store, "Lyon",
                   **{"policy": self.policy(), **more})  # fmt: skip

    @contextmanager
    def serving(self) -> Iterator[None]:
        if self.tls:
            self.server.secure(self.certificate, self.key)
        thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            self.server.shutdown()
            self.server.server_close()
            thread.join()

    def rows(self) -> dict[str, tuple[str, str]]:
        with self.serving():
            found = list(preflight(read_settings(self.yaml, SiteSettings)))
        assert [row.check for row in found] == CHECKS
        return {row.check: (row.found, row.mend) for row in found}


@pytest.fixture
def place(tmp_path, stores, monkeypatch) -> Iterator[Place]:
    for name in list(os.environ):
        if name.lower() in ("https_proxy", "http_proxy", "no_proxy", "all_proxy"):
            monkeypatch.delenv(name)
    made = Place(tmp_path, stores[0])
    yield made
    made.server.server_close()


def fails_alone(place: Place, check: str) -> str:
    """The one row that fails, as one text."""
    rows = place.rows()
    failed = {name: f"{found}; {mend}" for name, (found, mend) in rows.items() if mend}
    assert list(failed) == [check], failed
    return failed[check]


def test_the_guide_has_a_line_for_each_row():
    guide = (Path(__file__).parents[3] / "docs" / "deployment.md").read_text()
    table = guide.partition("| row | what is asked |\n|---|---|\n")[2].partition("\n\n")[0]
    assert [line.split(" | ")[0].removeprefix("| ") for line in table.splitlines()] == CHECKS


def test_what_cannot_be_looked_at_is_said_and_is_no_failure(place):
    place.server.faults.fleet = 502
    rows = place.rows()
    assert rows["clock"] == ("not looked at: '/v1/fleet' comes first", "")
    assert rows["admission"] == ("not looked at: 'clock' comes first", "")
    (place.state / KIT).unlink()
    place.serving = nothing
    rows = place.rows()
    assert rows["proxy"] == ("not looked at: 'kit and key' comes first", "")
    assert rows["admission"] == ("not looked at: 'clock' comes first", "")
    assert rows["store"][0].startswith("12 people")


def test_all_is_right(place):
    rows = place.rows()
    assert [mend for _, mend in rows.values()] == [""] * len(CHECKS), rows
    assert rows["kit and key"][0] == (
        f"kit of 'Three hospitals' ({place.kit.address}), and this site's key"
    )
    assert rows["proxy"][0] == "none on the way (HTTPS_PROXY, NO_PROXY)"
    assert rows["connection"][0] == f"{place.kit.address} answers 127.0.0.1"
    assert rows["certificate"][0].startswith("signed by the kit's authority, good until 20")
    assert rows["/v1/control"][0] == "is shut (403)"
    assert rows["store"][0] == "12 people; policy.min_subjects asks for 4"
    assert rows["slurm"][0] == "not asked for (device: cpu)"


@pytest.mark.parametrize("right", [True, False])
def test_the_command_prints_the_table_and_exits_by_it(place, right):
    place.server.faults.control = 403 if right else 200
    with place.serving():
        result = CliRunner().invoke(app, ["preflight", str(place.yaml)])
    last = result.output.splitlines()[-1]
    if right:
        assert (result.exit_code, last) == (0, "ready to start (brainjepa site start)")
    else:
        assert (result.exit_code, last) == (1, "1 check failed")
        assert "do not start" in " ".join(result.output.replace("│", " ").split())


def test_another_flower(place, monkeypatch):
    monkeypatch.setattr(preflight_module.importlib.metadata, "version", lambda name: "1.42.0")
    text = fails_alone(place, "versions")
    assert (
        f"expected Flower 1.41, with which brainjepa-federated {VERSION} works, found 1.42" in text
    )
    assert "install anew (pip install 'brainjepa-federated[federation]'), in an" in text


def test_the_flower_that_is_looked_for_is_the_one_that_is_installed_with_this_package():
    pinned = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    asked = pinned["project"]["optional-dependencies"]["federation"]
    assert f"flwr=={FLOWER}.*" in asked


# Kit and key.


@pytest.mark.parametrize("name", [KEY, KIT])
def test_a_site_that_has_not_joined(place, name):
    (place.state / name).unlink()
    text = fails_alone(place, "kit and key")
    assert (
        f"expected a site that has joined a consortium, found no '{place.state / name}'; " in text
    )
    assert "join first (brainjepa site join KIT SITE.yaml)" in text


def test_a_key_that_others_can_read(place):
    (place.state / KEY).chmod(0o644)
    text = fails_alone(place, "kit and key")
    assert "found mode 644" in text and "chmod 600" in text


def test_a_kit_that_was_changed(place):
    path = place.state / KIT
    path.write_text(path.read_text().replace("Three hospitals", "Four hospitals"))
    assert "expected that of the kit's certificate, found another" in fails_alone(
        place, "kit and key"
    )


def test_a_clock_of_long_ago(place, monkeypatch):
    class Early(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) - timedelta(days=400)

    monkeypatch.setattr(preflight_module, "datetime", Early)
    text = fails_alone(place, "kit and key")
    assert "by this machine's clock it begins in 3" in text and "set the clock" in text


# The way to the coordinator.


def test_nobody_listens(place):
    place.server.server_close()
    place.serving = nothing
    text = fails_alone(place, "connection")
    assert f"expected a connection to {place.kit.address}, found a refusal; ask the coord" in text
    assert f"whether port {place.kit.port} is open to the outside" in text


@contextmanager
def nothing() -> Iterator[None]:
    yield


def test_a_name_that_is_not_known(place):
    kit = Kit("no-such-host.invalid", place.kit.port, place.kit.authority)
    (place.state / KIT).write_text(kit.text())
    text = fails_alone(place, "connection")
    assert "expected an address of 'no-such-host.invalid', found none (DNS); ask IT" in text


def made_certificate(folder: Path, issuer: str, like: Path | None = None, **change) -> Path:
    """A certificate for HOST by an authority of some name, in files NAME.crt and NAME.key."""
    key = ec.generate_private_key(ec.SECP384R1())
    signer = (
        serialization.load_pem_private_key(like.read_bytes(), None)
        if like
        else ec.generate_private_key(ec.SECP384R1())
    )
    address = x509.IPAddress(ipaddress.ip_address(change.get("address", HOST)))
    names = x509.Name.from_rfc4514_string
    begins = change.get("begins", NOW - timedelta(days=2))
    made = (
        x509.CertificateBuilder(names(issuer), names("CN=server"), key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=change.get("days", 30)))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "met.crt").write_bytes(made.public_bytes(pem))
    (folder / "met.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "met.crt"


def meet(place: Place, issuer: str = "", like: Path | None = None, **change) -> None:
    own = place.kit.authority.subject.rfc4514_string()
    place.certificate = made_certificate(place.folder, issuer or own, like, **change)
    place.key = place.folder / "met.key"


@pytest.mark.parametrize("issuer", ["CN=Kaspersky Web Anti-Virus Root", "O=Hospital IT,CN=Proxy"])
def test_somebody_opens_tls_on_the_way(place, issuer):
    meet(place, issuer)
    text = fails_alone(place, "certificate")
    assert f"signed by the kit's authority, found one issued by '{issuer}'; an antivirus" in text
    assert f"ask IT to leave {place.kit.address} alone" in text


def test_another_authority_of_the_same_name(place):
    meet(place)
    text = fails_alone(place, "certificate")
    assert "found another authority of the same name ('Three hospitals'); ask the coord" in text


def test_a_certificate_for_other_names_ended_or_not_begun(place):
    authority = place.pki / "ca.key"
    for change, told in (
        ({"address": "127.0.0.9"}, "found one for '127.0.0.9'; ask the coordinator to make one"),
        ({"begins": NOW - timedelta(days=90)}, "in force, found that it ended on "),
        ({"begins": NOW + timedelta(days=2)}, "in force, found that it begins on "),
    ):
        place.server.server_close()
        place.server = Server()
        kit = Kit(HOST, place.server.server_port, place.kit.authority)
        (place.state / KIT).write_text(kit.text())
        meet(place, like=authority, **change)
        assert told in fails_alone(place, "certificate")


def test_something_that_speaks_no_tls(place):
    place.tls = False
    text = fails_alone(place, "certificate")
    assert f"expected TLS from {place.kit.address}, found no TLS there; ask the coord" in text


@pytest.mark.parametrize(
    ("seconds", "told"), [(-30, "ahead"), (-9, "ahead"), (400, "behind"), (3600, "behind")]
)
def test_a_wrong_clock(place, seconds, told):
    place.server.faults.clock = seconds
    text = fails_alone(place, "clock")
    assert "expected a clock at most 5 s ahead of the coordinator's and 300 s behind it" in text
    assert f" s {told}; set the clock of this machine (NTP)" in text


@pytest.mark.parametrize("seconds", [-3, 0, 3, 280])
def test_a_clock_that_is_good_enough(place, seconds):
    place.server.faults.clock = seconds
    assert place.rows()["clock"] == ("agrees with the coordinator's", "")


def test_a_server_that_tells_no_time(place):
    place.server.faults.clock = None
    assert "(header Date), found none; ask the coordinator" in fails_alone(place, "clock")


@pytest.mark.parametrize(
    ("status", "mend"), [(502, "start its server"), (403, "look at its proxy"), (404, "look at")]
)
def test_the_door_for_sites_is_shut(place, status, mend):
    place.server.faults.fleet = status
    text = fails_alone(place, "/v1/fleet")
    assert f"to ask for a key (401), found {status}; ask the coordinator to {mend}" in text


@pytest.mark.parametrize("status", [200, 401, 502])
def test_the_door_for_commands_is_open(place, status):
    place.server.faults.control = status
    text = fails_alone(place, "/v1/control")
    assert f"to be shut (403), found {status}: whoever has a kit could send studies; do not" in text


def test_a_key_that_is_not_admitted(place):
    place.server.faults.admission = 412
    text = fails_alone(place, "admission")
    assert "let this site's key in, found a refusal; if a start was killed in the last" in text


@pytest.mark.parametrize("status", [500, 503])
def test_a_coordinator_that_does_not_say_whom_it_admits(place, status):
    place.server.faults.admission = status
    assert f"found an answer of status {status}; ask" in fails_alone(place, "admission")


# Proxies of the hospital.


class Proxy:
    """A proxy for HTTPS, or one that answers each wish with a status."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.asked = status, []
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.pass_on, args=(client,), daemon=True).start()

    def pass_on(self, client: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked:
            asked += client.recv(4096)
        self.asked.append(asked.decode())
        with client, suppress(ConnectionError):
            client.sendall(f"HTTP/1.1 {self.status} Told\r\n\r\n".encode())
            if self.status != 200:
                return
            host, port = asked.split()[1].decode().split(":")
            with socket.create_connection((host, int(port))) as server:
                ends = {client: server, server: client}
                while True:
                    for end in select.select(list(ends), [], [])[0]:
                        content = end.recv(65536)
                        if not content:
                            return
                        ends[end].sendall(content)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_a_proxy_that_lets_through(place, monkeypatch, variable):
    proxy = Proxy()
    monkeypatch.setenv(variable, f"http://someone:s%40secret@{HOST}:{proxy.port}")
    rows = place.rows()
    assert [mend for _, mend in rows.values()] == [""] * len(CHECKS), rows
    assert rows["proxy"][0] == f"{HOST}:{proxy.port} (HTTPS_PROXY)"
    assert "secret" not in str(rows)
    assert all("Proxy-Authorization: Basic c29tZW9uZTpzQHNlY3JldA==" in a for a in proxy.asked[:2])
    proxy.listener.close()


@pytest.mark.parametrize("status", [403, 407])
def test_a_proxy_that_does_not(place, monkeypatch, status):
    proxy = Proxy(status)
    monkeypatch.setenv("HTTPS_PROXY", f"{HOST}:{proxy.port}")
    text = fails_alone(place, "proxy")
    assert f"expected the proxy {HOST}:{proxy.port} of HTTPS_PROXY to connect to " in text
    assert f"found that it refuses ({status} Told); ask IT to let it through" in text
    proxy.listener.close()


def test_a_proxy_that_is_not_there(place, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://{HOST}:1")
    text = fails_alone(place, "proxy")
    assert "found a connection that failed; ask IT to let it through, correct HTTPS" in text
    assert f"or spare the coordinator with NO_PROXY={HOST}" in text


@pytest.mark.parametrize(
    "value", ["socks5://secret@127.0.0.1:1080", "http://127.0.0.1:secret", "http://", "::secret"]
)
def test_a_proxy_that_is_none(place, monkeypatch, value):
    monkeypatch.setenv("HTTPS_PROXY", value)
    text = fails_alone(place, "proxy")
    assert "expected a proxy as http://HOST:PORT in HTTPS_PROXY, found another kind or" in text
    assert "secret" not in text


def test_no_proxy_spares_the_coordinator(place, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"http://{HOST}:1")
    monkeypatch.setenv("NO_PROXY", f"localhost,{HOST}")
    assert [mend for _, mend in place.rows().values()] == [""] * len(CHECKS)


# This machine.


def test_another_start(place):
    folder = RunFolder(place.state)
    with folder.alone():
        folder.tell({"pid": 4711})
        text = fails_alone(place, "other start")
    assert "found 'brainjepa site start' at work (process 4711); look at it with" in text


def test_a_store_of_too_few(place):
    place.site(policy=place.policy(min_subjects=20))
    text = fails_alone(place, "store")
    assert "expected at least 20 people (policy.min_subjects), found 12; the site would" in text


def test_a_store_that_does_not_open(place, tmp_path):
    store = tmp_path / "copy"
    shutil.copytree(read_settings(place.yaml, SiteSettings).store, store)
    write_site(place.folder / "site", store, "Lyon", policy=place.policy())
    header = store / "store.json"
    header.write_text(header.read_text()[:20])
    assert "store.json" in fails_alone(place, "store")


def test_no_room(place, monkeypatch):
    place.site(policy=place.policy(max_width=1280, max_depth=32))
    free = SimpleNamespace(free=2.1e9)
    monkeypatch.setattr(preflight_module.shutil, "disk_usage", lambda path: free)
    text = fails_alone(place, "state")
    assert "the policy allows (20.1 GB), found 2.1 GB; make room, name a larger disk" in text


def test_a_state_folder_of_another_user(place, monkeypatch):
    denied = PermissionError(13, "Permission denied")

    def refuse(**_: object) -> None:
        raise denied

    monkeypatch.setattr(preflight_module.tempfile, "NamedTemporaryFile", refuse)
    text = fails_alone(place, "state")
    assert f"state folder '{place.state}', found no permission to open it; give it to" in text


def test_a_device_that_is_not_there(place):
    place.site(device="cuda:77")
    text = fails_alone(place, "device")
    assert "expected a device of this machine, found 'cuda:77'; use cpu, or cuda where" in text


# The cluster.


@pytest.fixture
def cluster(place, monkeypatch) -> Cluster:
    made = Cluster(place.folder / "cluster")
    made.install(place.folder / "bin")
    monkeypatch.setenv("PATH", f"{place.folder / 'bin'}:/usr/bin:/bin")
    return made


def test_a_cluster_that_takes_the_sites_options(place, cluster):
    place.site(device="slurm", slurm={"options": {"partition": "gpu", "gres": "gpu:1"}})
    rows = place.rows()
    assert rows["slurm"][0].startswith("sbatch takes the options: Job 1 to start at ")
    assert rows["device"][0] == "cuda of a job; 'slurm' looks at what can be seen from here"
    assert [mend for _, mend in rows.values()] == [""] * len(CHECKS) and cluster.jobs() == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"partition": "fast"}, "allocation failure: Invalid partition name specified"),
        ({"gpus": 1}, "sbatch: unrecognized option '--gpus'"),
    ],
)
def test_options_that_the_cluster_refuses(place, cluster, options, told):
    place.site(device="slurm", slurm={"options": options})
    text = fails_alone(place, "slurm")
    assert f"expected sbatch to take it, found that it says: {told}" in text
    assert "correct slurm.options of the site's YAML" in text


@pytest.mark.parametrize("command", ["sbatch", "squeue", "scancel"])
def test_a_command_of_slurms_is_missing(place, cluster, command):
    place.site(device="slurm", slurm={"options": {}})
    (place.folder / "bin" / command).unlink()
    text = fails_alone(place, "slurm")
    assert f"expected Slurm's command {command} on this machine (device: slurm), found" in text
    assert "start the site where jobs can be submitted, or name another device" in text
