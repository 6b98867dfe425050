"""A site joins: the kit's fingerprint is compared, the key stays, a request is written."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from made_consortium import NOBODY, NOW, consortium, read_only, request
from typer.testing import CliRunner

from brainjepa_client.approving.membership import KEY, KIT
from brainjepa_client.cli import app
from brainjepa_client.deploying.joining import join, was_compared
from brainjepa_core.consortium.keys import load_key
from brainjepa_core.consortium.kit import read_kit
from brainjepa_core.consortium.request import read_request
from brainjepa_core.version import VERSION
from brainjepa_server.consortium.admission import admit
from brainjepa_server.consortium.certificates import AUTHORITY_DAYS
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder, set_up


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a site's YAML and a kit, from which commands are called."""
    consortium(tmp_path / "c")
    here = tmp_path / "here"
    (here / "store").mkdir(parents=True)
    (here / "store" / "store.json").write_text("{}")
    (here / "site.yaml").write_text(
        yaml.safe_dump({"name": "Lyon", "store": "store", "state": "state"})
    )
    shutil.copy(tmp_path / "c" / "kit", here / "kit")
    monkeypatch.chdir(here)
    return here


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["join", *words])
    return result.exit_code, result.output


def told(kit: str = "kit") -> list[str]:
    return ["--fingerprint", read_kit(Path(kit)).fingerprint]


def test_a_site_joins_and_is_admitted(here, tmp_path):
    code, shown = run("kit", "site.yaml", *told())
    assert code == 0, shown
    assert "Consortium 'Three hospitals' at brain.example.org:443" in shown
    assert "It is the one that was told." in shown
    asked = read_request(here / "Lyon.request")
    key = load_key(here / "state" / KEY, "")
    assert (asked.site, asked.version) == ("Lyon", VERSION) and asked.key == key.public_key()
    assert "The site's key was made, and stays here; to compare on the telephone:\n  " in shown
    assert asked.fingerprint in shown and f"Send to the coordinator: {here}" in shown
    assert (here / "state" / KEY).stat().st_mode & 0o777 == 0o600
    assert read_kit(here / "state" / KIT) == read_kit(here / "kit")
    assert admit(ConsortiumFolder.open(tmp_path / "c"), here / "Lyon.request").new


def leaks(here: Path, *secrets: Path) -> list[str]:
    """What of secrets, or of this machine, is in what is sent; and secrets that others can read."""
    lines = [line for path in secrets for line in path.read_text().splitlines()[1:-1]]
    assert lines
    found = [str(path) for path in secrets if path.stat().st_mode & 0o077]
    for sent in (here / "Lyon.request", here / "kit"):
        files = [sent] if sent.is_file() else [p for p in sent.rglob("*") if p.is_file()]
        text = b"\n".join(path.read_bytes() for path in files).decode(errors="replace")
        found += [part for part in ("PRIVATE", str(here), *lines) if part in text]
    return found


def secrets_of(here: Path, consortium_folder: Path) -> list[Path]:
    return [here / "state" / KEY, *sorted((consortium_folder / "pki").glob("*.key"))]


def test_what_is_sent_has_no_secret_path_or_fact_of_the_store(here, tmp_path):
    run("kit", "site.yaml", *told())
    text = (here / "Lyon.request").read_text()
    assert sorted(path.name for path in here.iterdir()) == [
        "Lyon.request", "kit", "site.yaml", "state", "store"]  # fmt: skip
    assert leaks(here, *secrets_of(here, tmp_path / "c")) == []
    fields = [line for line in text.splitlines() if not line.startswith(("#", "key", "signature"))]
    assert fields == ["brainjepa: request", "format: 1", "site: Lyon", f"version: {VERSION}"]


@pytest.mark.parametrize("harm", ["request", "kit", "mode"])
def test_a_secret_that_leaks_is_found(here, tmp_path, harm):
    """The control of the test above: a key in either, and a key that others can read."""
    run("kit", "site.yaml", *told())
    secrets = secrets_of(here, tmp_path / "c")
    if harm == "mode":
        secrets[0].chmod(0o644)
    else:
        sent = here / ("Lyon.request" if harm == "request" else "kit")
        sent = next(p for p in sent.rglob("*") if p.is_file()) if sent.is_dir() else sent
        sent.write_bytes(sent.read_bytes() + secrets[harm == "kit"].read_bytes())
    assert leaks(here, *secrets)


def test_again_the_key_is_kept_and_nothing_is_asked(here):
    run("kit", "site.yaml", *told())
    key, first = (here / "state" / KEY).read_bytes(), read_request(here / "Lyon.request")
    code, shown = run("kit", "site.yaml")
    assert code == 0 and "It is the one that was compared when this site joined." in shown
    assert "The site's key was kept, and stays here" in shown
    assert (here / "state" / KEY).read_bytes() == key
    assert read_request(here / "Lyon.request") == first


def test_a_new_address_comes_with_a_new_kit_of_the_same_authority(here, tmp_path):
    run("kit", "site.yaml", *told())
    set_up(tmp_path / "c", ["new.example.org"], name=None, port=None, now=NOW)
    assert run(str(tmp_path / "c" / "kit"), "site.yaml")[0] == 0
    assert read_kit(here / "state" / KIT).host == "new.example.org"


def nothing_made(here: Path) -> bool:
    return not (here / "state").exists() and not (here / "Lyon.request").exists()


def test_a_fingerprint_that_differs_makes_nothing(here):
    fingerprint = read_kit(Path("kit")).fingerprint
    other = ("1" if fingerprint[10] != "1" else "2").join([fingerprint[:10], fingerprint[11:]])
    code, shown = run("kit", "site.yaml", "--fingerprint", other)
    assert code == 1 and "expected the fingerprint that was told, found another in group 3" in shown
    code, shown = run("kit", "site.yaml", "--fingerprint", fingerprint[:20])
    assert code == 1 and "found 16 digits rather than 64; have all groups read out again" in shown
    assert nothing_made(here)


def test_without_terminal_or_fingerprint_nothing_is_made(here):
    code, shown = run("kit", "site.yaml")
    assert code == 1 and "found neither --fingerprint nor a terminal to ask at; give" in shown
    assert nothing_made(here)


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("", 1), ("y", 0)])
def test_on_a_terminal_the_manager_is_asked(here, answer, code):
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    program = f"import sys; sys.path[:0] = {sys.path!r}; from brainjepa import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, "site", "join", "kit", "site.yaml"],
        stdin=theirs, capture_output=True, text=True, check=False,
    )  # fmt: skip
    os.close(ours), os.close(theirs)
    assert done.returncode == code, done.stderr
    assert "Is this what the coordinator read out to you on the telephone? [y/N]" in done.stdout
    assert nothing_made(here) == (code == 1)
    if code:
        assert "found another by your answer; nothing was made: ask the coordinator" in done.stderr


def test_another_consortium_needs_another_state_folder(here, tmp_path):
    run("kit", "site.yaml", *told())
    consortium(tmp_path / "other", name="Impostors")
    kit = str(tmp_path / "other" / "kit")
    before = (here / "state" / KIT).read_bytes()
    code, shown = run(kit, "site.yaml", *told(kit))
    assert code == 1
    text = (
        r"that this site has joined \('Three hospitals', .*\), found .* \('Impostors', .*\); a site"
    )
    assert re.search(text, shown) and (here / "state" / KIT).read_bytes() == before


def test_wrong_files(here, tmp_path):
    for words, text in (
        (["site.yaml", "kit"], "site.yaml: expected a kit, found another file; give the file that"),
        (["no", "site.yaml"], "no: expected a kit, found no such file; correct the path"),
        ([str(request(tmp_path)), "site.yaml"], "expected a kit, found a request; give the file"),
        ([str(tmp_path / "Lyon.key"), "site.yaml"], "expected a kit, found a private key in it"),
        (["kit", "kit"], "kit line 9, column 1: expected YAML"),
    ):
        code, shown = run(*words)
        assert code == 1 and text in shown, shown
    assert nothing_made(here)


def test_a_kit_out_of_force(here):
    kit, state = read_kit(here / "kit"), here / "state"
    assert not was_compared(kit, state, NOW)
    with pytest.raises(ValueError, match=r"kit's certificate .* begins in 2 days; set the clock"):
        was_compared(kit, state, NOW - timedelta(days=3, hours=1))
    with pytest.raises(ValueError, match=r"ended 3 days ago; .*if it is, ask the coordinator"):
        was_compared(kit, state, NOW + timedelta(days=AUTHORITY_DAYS + 3, hours=1))


def test_a_key_that_others_may_have_read_or_that_is_damaged(here):
    run("kit", "site.yaml", *told())
    path = here / "state" / KEY
    path.chmod(0o640)
    code, shown = run("kit", "site.yaml")
    assert code == 1 and "expected a key that its owner alone can read (mode 600), found" in shown
    path.chmod(0o600)
    path.write_bytes(path.read_bytes()[:200])
    code, shown = run("kit", "site.yaml")
    assert code == 1 and "remove it and join again: the coordinator revokes the old key" in shown


def test_folders_that_cannot_be_written(here):
    kit = read_kit(here / "kit")
    with tempfile.TemporaryDirectory() as name:
        state, send = Path(name) / "state", Path(name) / "send"
        state.mkdir(), send.mkdir()
        Path(name).chmod(0o755)
        with read_only(state), pytest.raises(PermissionError, match=r"join\.lock"):
            join(kit, "Lyon", state, send)
        join(kit, "Lyon", state, state)
        state.chmod(0o777)
        for path in state.iterdir():
            os.chown(path, *((NOBODY, NOBODY) if os.geteuid() == 0 else (-1, -1)))
        with read_only(send), pytest.raises(PermissionError, match=r"Lyon\.request"):
            join(kit, "Lyon", state, send)
