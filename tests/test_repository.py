"""Promises about the repository itself: what it holds, what it never holds, how it starts."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from importlib import import_module, metadata
from pathlib import Path

import pytest
import yaml

from brainjepa_core.extras import EXTRAS

ROOT = Path(__file__).parents[1]
PACKAGES = ("brainjepa_core", "brainjepa_client", "brainjepa_server", "brainjepa_simulations")
ROOMS = ("brainjepa_core", "client", "server", "simulations")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirement_names(requirements: list[str]) -> list[str]:
    """``["flwr[simulation]==1.41.*"]`` -> ``["flwr"]``."""
    return [re.match(r"[A-Za-z0-9_.-]+", requirement)[0] for requirement in requirements]


def repository_files() -> list[Path]:
    """Every file git tracks or would track; skips where this is not a git checkout."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def package_modules() -> list[Path]:
    return [ROOT / "brainjepa.py"] + [
        path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))
    ]


def relative(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def test_a_file_holds_one_idea():
    long = [path for path in package_modules() if len(path.read_text().splitlines()) > 350]
    assert relative(long) == []


def test_nothing_is_left_open():
    pattern = re.compile("TODO|FIXME|XXX|raise NotImplementedError")
    open_ends = [path for path in package_modules() if pattern.search(path.read_text())]
    assert relative(open_ends) == []


def test_no_path_of_one_machine():
    home = re.compile(r"(?<![\w.}])/(home|root|Users|opt|work|mnt|srv)/\w+")
    address = re.compile(r"\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{1,3}){2,3}\b")
    found = []
    for path in repository_files():
        text = path.read_bytes().decode(errors="replace")
        found += [
            f"{path.relative_to(ROOT)}: {match[0]}"
            for pattern in (home, address)
            for match in pattern.finditer(text)
        ]
    assert found == []


def test_no_scans_time_series_weights_or_participants():
    binary = (".nii", ".gz", ".npy", ".npz", ".h5", ".mat", ".1D", ".pt", ".pth", ".safetensors")
    files = repository_files()
    assert relative([path for path in files if path.name.endswith(binary)]) == []
    tables = ("participants.tsv", "participants.csv", "participants.json")
    assert relative([path for path in files if path.name in tables]) == []
    assert relative([path for path in files if path.stat().st_size > 300_000]) == []


def test_no_keys_kits_or_requests_of_a_consortium():
    """A test that joins in the working directory would leave a request there."""
    files = repository_files()
    ends = (".request", ".key", ".crt", ".pub", ".pem")
    assert relative([path for path in files if path.name.endswith(ends)]) == []


def test_shipped_data_is_the_label_table_and_its_notice():
    files = [path for path in repository_files() if (ROOT / "brainjepa_core/data") in path.parents]
    tables = [path for path in files if path.suffix == ".tsv"]
    notices = [path for path in files if re.match("NOTICE|LICEN[CS]E|README", path.name)]
    assert len(tables) == 1 and notices
    assert sorted(files) == sorted(tables + notices)


def test_every_dependency_is_explained_pinned_and_installed():
    explained = re.findall(
        r"^- `([\w.-]+)`: \S", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE
    )
    extras = [name for extra in PROJECT["optional-dependencies"].values() for name in extra]
    declared = {*requirement_names(PROJECT["dependencies"] + extras)} - {PROJECT["name"]}
    assert sorted(explained) == sorted(declared)

    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    normal = {re.sub("[-_.]+", "-", name).lower() for name in pins}
    assert [name for name in declared if re.sub("[-_.]+", "-", name).lower() not in normal] == []
    for name in declared:
        assert metadata.version(name)


def test_constraints_hold_nothing_but_versions():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len({line.split("==")[0].lower() for line in pins}) == len(pins)


def test_what_is_imported_is_declared():
    modules = {"pyyaml": "yaml", "scikit-learn": "sklearn"}
    extras = PROJECT["optional-dependencies"]
    asked_for = [name for extra in EXTRAS.values() for name in extras[extra]]
    names = requirement_names(PROJECT["dependencies"] + asked_for)
    declared = {modules.get(name, name) for name in names}
    ours = {*PACKAGES, "brainjepa", "brainmarks"}  # the last imports our plug-in, not we it
    known = declared | set(sys.stdlib_module_names) | ours
    unknown = set()
    for path in package_modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
                assert node.level == 0, f"{path.relative_to(ROOT)}: write the import in full"
            else:
                continue
            unknown |= {
                f"{path.relative_to(ROOT)}: {name}"
                for name in names
                if name.split(".")[0] not in known
            }
    assert unknown == set()


def test_versions_agree():
    version = PROJECT["version"]
    assert re.search(
        rf"^## \[{re.escape(version)}\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    try:
        installed = metadata.version(PROJECT["name"])
    except metadata.PackageNotFoundError:
        pytest.skip("runs from the sources, not installed")
    assert installed == version


def test_extras_bring_what_they_are_asked_for():
    extras = PROJECT["optional-dependencies"]
    assert set(EXTRAS.values()) < set(extras)
    assert requirement_names(extras["federation"]) == ["cryptography", "flwr", "httpx"]
    assert extras["simulation"] == ["flwr[simulation]" + extras["federation"][1][len("flwr") :]]
    (everything,) = extras["all"]
    assert set(re.findall(r"\w+", everything)) >= set(extras) - {"all", "dev", "docs"}


def test_every_package_says_that_it_is_typed():
    for package in PACKAGES:
        (folder,) = import_module(package).__path__
        assert (Path(folder) / "py.typed").exists()
    stub = ROOT / "brainjepa-stubs" / "__init__.pyi"
    assert stub.samefile(ROOT / "brainjepa.py")


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    assert (cited["version"], cited["license"]) == (PROJECT["version"], PROJECT["license"])
    assert [author["name"] for author in cited["authors"]] == [
        a["name"] for a in PROJECT["authors"]
    ]
    identifiers = [i["value"] for work in cited["references"] for i in work["identifiers"]]
    assert "arXiv:2409.19407" in identifiers


def test_licence_is_the_declared_one():
    assert PROJECT["license"] == "Apache-2.0"
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence and "Version 2.0, January 2004" in licence
    notice = (ROOT / "NOTICE").read_text()
    assert "10.1038/s41593-020-00711-6" in notice and "CBIG" in notice


def test_console_script_is_the_command():
    module, _, name = PROJECT["scripts"]["brainjepa"].partition(":")
    assert callable(getattr(import_module(module), name))


def test_help_names_the_command():
    shown = subprocess.run(
        [sys.executable, "-m", "brainjepa", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert "Usage: brainjepa" in re.sub(r"\x1b\[[0-9;]*m", "", shown.stdout)


def test_the_command_starts_without_the_heavy_libraries():
    program = "import sys, brainjepa; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"torch", "scipy", "nilearn", "pandas", "flwr", "mlflow", "ray", "sklearn"}
    assert heavy & set(loaded) == set()
