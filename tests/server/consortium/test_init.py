"""A consortium's folder: made once, mended where something lacks, its authority never replaced."""

from __future__ import annotations

import os
import re
import shutil
import socket
import ssl
import tempfile
import threading
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import load_pem_x509_certificate
from made_consortium import HOST, NOW, altered, consortium, read_only
from typer.testing import CliRunner

from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.files import lone_writer
from brainjepa_core.settings import read_settings
from brainjepa_server.cli import app
from brainjepa_server.consortium.certificates import AUTHORITY_DAYS, SERVER_DAYS, hosts_of
from brainjepa_server.consortium.consortium_folder import set_up
from brainjepa_server.settings import StudySettings

AT_TERMINAL = SimpleNamespace(isatty=lambda: True)


@pytest.fixture
def folder(tmp_path) -> Path:
    consortium(tmp_path / "c")
    return tmp_path / "c"


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def init(*words: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "999"}).invoke(app, ["init", *map(str, words)])
    return result.exit_code, result.output


def again(folder: Path, *hosts: str, later: timedelta = timedelta(0), **changes):
    return set_up(folder, hosts, **{"name": None, "port": None, **changes}, now=NOW + later)


def server_certificate(folder: Path):
    return load_pem_x509_certificate((folder / "pki" / "server.crt").read_bytes())


def test_what_is_made(tmp_path):
    code, shown = init(tmp_path / "new", "--host", "Brain.example.org", "--host", "127.0.0.1")
    folder = tmp_path / "new"
    assert code == 0, shown
    kit = read_kit(folder / "kit")
    assert (kit.consortium, kit.address) == ("brain.example.org", "brain.example.org:443")
    assert f"\n  {kit.fingerprint}\n" in shown and re.fullmatch(
        "([0-9a-f]{4} ){15}[0-9a-f]{4}", kit.fingerprint
    )
    assert hosts_of(server_certificate(folder)) == ("brain.example.org", "127.0.0.1")
    study = folder / "study.yaml"
    assert f"made: a study to begin with: {study}" in shown
    assert read_settings(study, StudySettings).total_rounds == 60
    for name in ("ca.key", "server.key"):
        assert (folder / "pki" / name).stat().st_mode & 0o777 == 0o600
    assert (folder / "pki").stat().st_mode & 0o777 == 0o700
    assert list((folder / "admitted").iterdir()) == []
    authority = kit.authority
    assert authority.not_valid_after_utc - NOW > timedelta(days=AUTHORITY_DAYS - 1)


def test_a_study_is_written_with_a_new_consortium_alone(tmp_path):
    words = (tmp_path / "c", "--host", "a.example.org")
    init(*words)
    (tmp_path / "c" / "study.yaml").write_text("mine")
    code, shown = init(*words)
    assert code == 0 and "study.yaml" not in shown
    assert (tmp_path / "c" / "study.yaml").read_text() == "mine"


def test_a_study_that_was_there_before_the_consortium_stays(tmp_path):
    (tmp_path / "pki").mkdir()  # of a setup that did not come far
    (tmp_path / "study.yaml").write_text("mine")
    code, shown = init(tmp_path, "--host", "a.example.org")
    assert code == 0 and "study.yaml" not in shown
    assert (tmp_path / "study.yaml").read_text() == "mine"


def test_a_terminal_is_asked_for_the_host(tmp_path, monkeypatch):
    monkeypatch.setattr("brainjepa_server.consortium.cli.sys", SimpleNamespace(stdin=AT_TERMINAL))
    words = ["init", str(tmp_path / "c")]
    result = CliRunner(env={"COLUMNS": "999"}).invoke(app, words, input="b.example.org\n")
    assert result.exit_code == 0, result.output
    assert "By which name or IP address do sites reach this machine?" in result.output
    assert read_kit(tmp_path / "c" / "kit").host == "b.example.org"


def test_again_nothing_is_made(folder):
    before = files(folder)
    for words in (
        [],
        ["--host", HOST],
        ["--host", HOST, "--name", "Three hospitals"],
        ["--port", 443],
    ):
        code, shown = init(folder, *words)
        assert code == 0 and "made: nothing: all is there and in force" in shown
        assert read_kit(folder / "kit").fingerprint in shown
    assert files(folder) == before


@pytest.mark.parametrize(
    ("hosts", "later", "why"),
    [
        ((), SERVER_DAYS - 59, "the former one was about to end"),
        ((), SERVER_DAYS + 400, "the former one has ended"),
        ((HOST, "127.0.0.1"), 0, f"the former one was for {HOST}"),
        (("other.example.org",), 0, f"the former one was for {HOST}"),
    ],
)
def test_a_server_s_certificate_is_renewed_and_kits_stay_valid(folder, hosts, later, why):
    before, kit = files(folder), read_kit(folder / "kit")
    done = again(folder, *hosts, later=timedelta(days=later))
    assert done.made[0] == f"server certificate for {', '.join(hosts or (HOST,))}: {why}"
    after = files(folder)
    same = ["pki/ca.key", "pki/ca.crt", "pki/server.key"]
    assert [after[name] for name in same] == [before[name] for name in same]
    server_certificate(folder).verify_directly_issued_by(kit.authority)
    assert again(folder, later=timedelta(days=later)).made == ()


def test_a_kit_for_another_address_is_said(folder):
    done = again(folder, "new.example.org", HOST, port=8443)
    assert done.made[-1] == (
        "kit for new.example.org:8443: sites that joined with the former one, for "
        f"{HOST}:443, join again with it"
    )
    assert again(folder).kit.address == "new.example.org:8443"


@pytest.mark.parametrize("lost", ["kit", "pki/server.crt", "pki/server.key", "admitted"])
def test_what_can_be_made_again_is(folder, lost):
    kit, path = read_kit(folder / "kit"), folder / lost
    path.rmdir() if path.is_dir() else path.unlink()
    again(folder, HOST)
    assert path.exists() and read_kit(folder / "kit") == kit
    assert again(folder).made == ()


def test_a_server_s_certificate_of_others_or_damaged_is_renewed(folder, tmp_path):
    consortium(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "pki" / "server.crt", folder / "pki" / "server.crt")
    assert "the former one was signed by another authority" in again(folder).made[0]
    (folder / "pki" / "server.crt").write_text("-----BEGIN CERTIFICATE-----\nMII")
    assert "the former one was damaged" in again(folder, HOST).made[0]
    (folder / "pki" / "server.key").unlink()
    assert "the former one was for another key" in again(folder).made[0]


@pytest.mark.parametrize("lost", ["ca.key", "ca.crt"])
def test_an_authority_is_never_made_a_second_time(folder, lost):
    (folder / "pki" / lost).unlink()
    before = files(folder)
    text = f"{lost}', found no such file; restore it from your copy; without it a consortium begins"
    with pytest.raises(ValueError, match=text):
        again(folder, HOST)
    assert files(folder) == before


def test_an_authority_that_is_damaged_or_another_s(folder, tmp_path):
    consortium(tmp_path / "other")
    path = folder / "pki" / "ca.crt"
    shutil.copy(tmp_path / "other" / "pki" / "ca.crt", path)
    with pytest.raises(ValueError, match=r"ca.crt' to be of ca.key, found that of another key"):
        again(folder)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"ca.crt', found a damaged certificate; restore it"):
        again(folder)
    path.write_bytes((folder / "pki" / "server.crt").read_bytes())
    with pytest.raises(ValueError, match="found a certificate that no authority signed for itself"):
        again(folder)
    (folder / "pki" / "ca.key").chmod(0o644)
    with pytest.raises(ValueError, match=r"\(mode 600\), found mode 644 of .*ca.key'; 'chmod 600"):
        again(folder)


def test_a_damaged_kit_of_one_s_own_is_said(folder):
    """It alone knows the port, which is not guessed."""
    altered(folder / "kit", "port: 443", "port: 8443x")
    before = files(folder)
    code, shown = init(folder)
    assert code == 1 and "found another file, or a damaged one; remove it, and call this" in shown
    assert files(folder) == before
    (folder / "kit").unlink()
    assert init(folder, "--port", 8443)[0] == 0 and read_kit(folder / "kit").port == 8443


def test_a_clock_that_is_wrong_and_an_end_that_has_come(folder):
    before = files(folder)
    with pytest.raises(ValueError, match=r"begins in 8 days; set the clock of this machine \(NTP"):
        again(folder, later=-timedelta(days=9, hours=1))
    with pytest.raises(ValueError, match=r"authority's .* ended 10 days ago; .* begin a con"):
        again(folder, later=timedelta(days=AUTHORITY_DAYS + 10, hours=1))
    assert files(folder) == before
    again(folder, "a.example.org", later=timedelta(days=30))
    with pytest.raises(ValueError, match="expected the server's certificate to be in force, found"):
        again(folder)


def test_a_server_never_outlives_its_authority(folder):
    days = timedelta(days=AUTHORITY_DAYS - 100)
    assert again(folder, later=days).ends == read_kit(folder / "kit").authority.not_valid_after_utc


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--name", "Other"], "expected the consortium's name 'Three hospitals', found 'Other'; l"),
        (["--host", "https://x"], "found 'https://x'; write the name alone"),
        (["--host", "0.0.0.0"], "'0.0.0.0', which no site can connect to; write the address"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(folder, words, text):
    before = files(folder)
    code, shown = init(folder, *words)
    assert code == 1 and text in shown and shown.count("\n") == 1
    assert files(folder) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code, shown = init(tmp_path, "--host", HOST)
    assert code == 1 and "expected a new or empty folder, or a consortium's, found other" in shown
    code, shown = init(tmp_path / "notes.txt", "--host", HOST)
    assert code == 2 and "expected a folder or the name of a new one, found the" in shown
    code, shown = init(tmp_path / "new")
    assert code == 1 and "found none; say them with --host, the one for the kit first" in shown
    code, shown = init(tmp_path / "new", "--host", HOST, "--name", "a\nb")
    assert code == 1 and "expected a consortium's name of 1 to 64 printable characters" in shown
    code, shown = init(tmp_path / "new", "--host", f"{'a' * 60}.example.org")
    assert code == 1 and "expected a consortium's name of 1 to 64" in shown
    assert files(tmp_path).keys() == {"notes.txt"}


def test_a_key_of_somebody_else_is_never_replaced(tmp_path):
    (tmp_path / "pki").mkdir()
    path = tmp_path / "pki" / "ca.key"
    path.write_bytes(rsa.generate_private_key(65537, 2048).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))  # fmt: skip
    path.chmod(0o600)
    before = path.read_bytes()
    code, shown = init(tmp_path, "--host", HOST)
    assert code == 1 and "found a key of another kind; see whose it is, and choose anot" in shown
    assert path.read_bytes() == before


def test_a_read_only_folder_and_one_at_work(folder):
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        with read_only(place):
            code, shown = init(place / "c", "--host", HOST)
        assert code in (1, 2) and "found no permission to" in shown
        consortium(place / "c")
        with read_only(place / "c"):
            code, shown = init(place / "c")
        assert code in (1, 2) and "found no permission to" in shown
    with lone_writer(folder / "lock", "", wait=False):
        code, shown = init(folder)
    assert code == 1 and f"another command at work there (process {os.getpid()} of " in shown


@pytest.mark.parametrize("killed_before", ["ca.crt", "server.key", "server.crt", "kit", "admitted"])
def test_a_kill_leaves_what_the_next_call_completes(tmp_path, killed_before):
    consortium(tmp_path / "c")
    order = ["pki/ca.key", "pki/ca.crt", "pki/server.key", "pki/server.crt", "kit"]
    left = [name for name in order if name.endswith(killed_before)]
    for name in order[order.index(left[0]) if left else len(order) :]:
        (tmp_path / "c" / name).unlink()
    (tmp_path / "c" / "admitted").rmdir()
    key = (tmp_path / "c" / "pki" / "ca.key").read_bytes()
    again(tmp_path / "c", HOST, name="Three hospitals")
    assert (tmp_path / "c" / "pki" / "ca.key").read_bytes() == key
    assert again(tmp_path / "c").made == () and read_kit(tmp_path / "c" / "kit").host == HOST


def handshake(folder: Path, kit: Path, name: str) -> str:
    """What a client that has the kit alone says of the server, asked for by a name."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "pki" / "server.crt", folder / "pki" / "server.key")
    client = ssl.create_default_context(cafile=kit)
    client.verify_flags |= ssl.VERIFY_X509_STRICT  # as from Python 3.13 on
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(20)

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    with server.wrap_socket(connection, server_side=True) as wrapped:
                        wrapped.sendall(b"hello")
                except OSError:  # the client has hung up
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with (
                socket.create_connection(listening.getsockname(), timeout=20) as plain,
                client.wrap_socket(plain, server_hostname=name) as wrapped,
            ):
                return wrapped.recv(16).decode()
        except ssl.SSLCertVerificationError as error:
            return error.verify_message
        finally:
            thread.join()


def test_a_real_handshake_with_nothing_but_the_kit(tmp_path):
    folder, other = tmp_path / "c", tmp_path / "other"
    consortium(folder, HOST, "127.0.0.1", "::1", "localhost")
    consortium(other)
    kit = folder / "kit"
    for name in (HOST, "127.0.0.1", "::1", "localhost"):
        assert handshake(folder, kit, name) == "hello"
    assert handshake(folder, kit, "evil.example.org").startswith("Hostname mismatch")
    assert handshake(folder, kit, "127.0.0.2").startswith("IP address mismatch")
    assert "unable to get local issuer" in handshake(folder, other / "kit", HOST)
    # Kits that were handed out before a renewal go on.
    former = shutil.copy(kit, tmp_path / "former")
    again(folder, "new.example.org", HOST)
    assert handshake(folder, former, HOST) == handshake(folder, kit, "new.example.org") == "hello"


def test_a_certificate_that_has_ended_is_refused_by_clients(tmp_path):
    past = NOW - timedelta(days=SERVER_DAYS + 1)
    set_up(tmp_path / "c", [HOST], name=None, port=None, now=past)
    assert handshake(tmp_path / "c", tmp_path / "c" / "kit", HOST) == "certificate has expired"
