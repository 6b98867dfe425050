"""A name is bound to a key; ``admitted/NAME.pub`` says who takes part."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_public_key
from made_consortium import altered, consortium, read_only, request
from typer.testing import CliRunner

from brainjepa_core.consortium.request import read_request
from brainjepa_server.cli import app
from brainjepa_server.consortium.admission import admit, admitted_sites, revoke
from brainjepa_server.consortium.consortium_folder import ConsortiumFolder


@pytest.fixture
def folder(tmp_path) -> ConsortiumFolder:
    consortium(tmp_path / "c")
    return ConsortiumFolder.open(tmp_path / "c")


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(map(str, words)))
    return result.exit_code, result.output


def names(folder: ConsortiumFolder) -> list[str]:
    return list(admitted_sites(folder))


def test_admitted_sites_are_files_that_flower_registers(folder, tmp_path):
    paths = [request(tmp_path, site) for site in ("Metz", "Lyon")]
    code, shown = run("admit", *paths, "--dir", folder.path)
    assert code == 0, shown
    for path in paths:
        asked = read_request(path)
        assert f"Site '{asked.site}' admitted; its key" in shown and asked.fingerprint in shown
        key = load_ssh_public_key((folder.admitted / f"{asked.site}.pub").read_bytes())
        assert key == asked.key == admitted_sites(folder)[asked.site]
    code, shown = run("sites", folder.path)
    assert code == 0 and [line.split()[0] for line in shown.splitlines()] == ["Lyon", "Metz"]
    assert shown.splitlines()[0] == f"Lyon  {read_request(paths[1]).fingerprint}"


def test_the_same_again_changes_nothing(folder, tmp_path):
    path = request(tmp_path)
    admit(folder, path)
    file = folder.admitted / "Lyon.pub"
    before = file.stat().st_mtime_ns, file.stat().st_ino
    for again in (path, request(tmp_path, version="0.9.0")):
        code, shown = run("admit", again, "--dir", folder.path)
        assert code == 0 and "Site 'Lyon' is admitted already, nothing changed" in shown
    assert "it has brainjepa-federated 0.9.0, this machine " in shown
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before


def test_another_key_needs_the_former_one_revoked(folder, tmp_path):
    former = read_request(request(tmp_path))
    admit(folder, tmp_path / "Lyon.request")
    path = request(tmp_path, key="second")
    text = (
        rf"expected the key that site 'Lyon' was admitted with \({former.fingerprint}\), found "
        rf"another \({read_request(path).fingerprint}\); call the site: if it made a new key, "
        "'brainjepa server revoke Lyon' first"
    )
    with pytest.raises(ValueError, match=text):
        admit(folder, path)
    assert admitted_sites(folder) == {"Lyon": former.key}
    assert run("revoke", "Lyon", "--dir", folder.path)[0] == 0 and names(folder) == []
    assert admit(folder, path).new and admitted_sites(folder) == {"Lyon": read_request(path).key}


def test_one_key_has_one_name(folder, tmp_path):
    admit(folder, request(tmp_path, "Lyon"))
    text = "expected a key of its own for site 'Metz', found that of site 'Lyon'; each site makes"
    with pytest.raises(ValueError, match=text):
        admit(folder, request(tmp_path, "Metz", key="Lyon"))
    with pytest.raises(ValueError, match="people can tell from that of site 'Lyon', found 'LYON'"):
        admit(folder, request(tmp_path, "LYON"))
    assert names(folder) == ["Lyon"]


def test_a_revoked_key_does_not_come_back_by_an_old_request(folder, tmp_path):
    path = request(tmp_path)
    admit(folder, path)
    revoke(folder, "Lyon")
    for again in (path, request(tmp_path, "Metz", key="Lyon")):
        with pytest.raises(ValueError, match=r"never revoked, found that of 'revoked/Lyon\.\w{16}"):
            admit(folder, again)
    assert names(folder) == []
    for revoked in folder.revoked.iterdir():
        revoked.unlink()
    assert admit(folder, path).new


def test_a_bad_request_keeps_no_other_out(folder, tmp_path):
    bad = altered(request(tmp_path, "Metz"), "site: Metz", "site: Nancy")
    words = ["admit", bad, tmp_path / "no", request(tmp_path), "--dir", folder.path]
    code, shown = run(*words)
    assert code == 1 and names(folder) == ["Lyon"]
    errors = shown[shown.index("Error:") :].splitlines()
    assert len(errors) == 2 and "the request was altered" in errors[0]
    assert errors[1] == "no: expected a request, found no such file; correct the path"


def test_two_of_one_name_in_one_call(folder, tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    first.mkdir(), second.mkdir()
    code, shown = run("admit", request(first), request(second), "--dir", folder.path)
    assert code == 1 and "expected the key that site 'Lyon' was admitted with" in shown
    assert admitted_sites(folder)["Lyon"] == read_request(first / "Lyon.request").key


@pytest.mark.parametrize("name", ["Lion", "../kit", "", "Lyon.pub"])
def test_nobody_unknown_is_revoked(folder, tmp_path, name):
    admit(folder, request(tmp_path))
    with pytest.raises(ValueError, match=r"expected the name of an admitted site \(Lyon\), found"):
        revoke(folder, name)
    assert names(folder) == ["Lyon"] and folder.kit.exists()


def test_what_is_no_site_s_key_is_told(folder, tmp_path):
    admit(folder, request(tmp_path))
    lyon, other = folder.admitted / "Lyon.pub", folder.admitted / "Metz.pub"
    for content, found in (
        (lyon.read_bytes(), "expected a key of its own for each site, found that of 'Lyon' in '"),
        (b"", "found no public key, or a damaged one; remove it, and admit the site's request"),
        (b"\xff", "found bytes that are not text in UTF-8; remove it"),
        (b"ssh-ed25519 AAAA", "found no public key, or a damaged one"),
    ):
        other.write_bytes(content)
        with pytest.raises(ValueError, match=found):
            admitted_sites(folder)
    other.unlink()
    (folder.admitted / "a b.pub").write_bytes(lyon.read_bytes())
    with pytest.raises(ValueError, match=r"expected files named after .*, found '.*a b.pub'"):
        admitted_sites(folder)
    (folder.admitted / "a b.pub").unlink()
    (folder.admitted / ".DS_Store").write_bytes(b"")
    assert names(folder) == ["Lyon"]


def test_a_folder_that_is_no_consortium_s(tmp_path):
    path = request(tmp_path)
    for words in (
        ["admit", path, "--dir", tmp_path],
        ["revoke", "Lyon", "--dir", tmp_path],
        ["sites", tmp_path],
    ):
        code, shown = run(*words)
        assert code == 1 and "expected the folder of a consortium, found '" in shown
        assert "another folder; give the one that 'brainjepa server init' made" in shown
    code, shown = run("sites", tmp_path / "no")
    assert code == 1 and "no such folder; give the one" in shown


def test_nobody_is_admitted_yet(folder):
    code, shown = run("sites", folder.path)
    assert code == 0 and shown.startswith("No site is admitted yet (brainjepa server admit REQ")


def test_a_read_only_folder(tmp_path):
    path = request(tmp_path)
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        consortium(Path(name) / "c")
        folder = ConsortiumFolder.open(Path(name) / "c")
        asked = shutil.copy(path, Path(name) / "Lyon.request")
        folder.authority.parent.chmod(0)  # as others find it, whoever runs the tests
        with read_only(folder.path):
            code, shown = run("admit", asked, "--dir", folder.path)
        assert code == 1 and "c', no permission to open it; give the one that" in shown
        assert "'brainjepa server init' made, as the user who made it" in shown
        folder.authority.parent.chmod(0o755)
        with read_only(folder.path):
            code, shown = run("admit", asked, "--dir", folder.path)
        assert code == 1 and "c/lock', found no permission to open it; check the path" in shown
        admit(folder, path)
        with read_only(folder.path):
            code, shown = run("revoke", "Lyon", "--dir", folder.path)
        assert code == 1 and "c/lock', found no permission to open it; check the path" in shown
        assert names(folder) == ["Lyon"]
