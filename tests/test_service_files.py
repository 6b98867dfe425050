"""Units, images and the trial's compose file: what they run is a command, what they name is there.

What systemd, Docker, Podman and Apptainer make of them is seen on a machine that has them.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
import yaml

from brainjepa import command
from brainjepa_client.deploying.run_folder import LEAVING, SENDING, STEP
from brainjepa_client.settings import SiteSettings, SlurmSettings
from brainjepa_server.deploying.study_process import STOPPED
from brainjepa_server.settings import StudySettings

ROOT = Path(__file__).parents[1]
UNITS = sorted([*(ROOT / "client").glob("*.service"), *(ROOT / "server").glob("*.service")])
SITE, SERVER = ROOT / "client" / "brainjepa-site.service", ROOT / "server/brainjepa-server.service"
IMAGES = [ROOT / room / "Containerfile" for room in ("client", "server", "simulations")]
COMPOSE = yaml.safe_load((ROOT / "examples" / "compose.yaml").read_text())
APPTAINER = (ROOT / "client" / "apptainer.def").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
IS_PINNED = re.compile(r"python:3\.1[12]\.\d+-slim-\w+$")


def require_command(words: list[str], folder: Path) -> dict[str, object]:
    """Parse words as the command line does, without running them; paths are made to exist."""
    folder.mkdir(exist_ok=True)
    commands = typer.main.get_command(command()).commands
    if words[0] in ("demo", "pretrain"):
        group, name, *rest = "", *words
    else:
        group, name, *rest = words
    if name == "start" and group == "server":
        (folder / "consortium").mkdir(exist_ok=True)
    for index, word in enumerate(rest):
        if word.startswith("/"):
            rest[index] = str(folder / Path(word).name)
            if word.endswith((".yaml", ".json")):
                Path(rest[index]).touch()
    found = (commands[group].commands if group else commands)[name]
    return found.make_context(name, rest).params


def entries(unit: Path) -> dict[str, list[str]]:
    """Settings of a unit by name, in the rules of systemd: a setting may stand several times."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in unit.read_text().replace("\\\n", " ").splitlines():
        line = line.strip()
        if re.fullmatch(r"\[(Unit|Service|Install)\]", line):
            section = line
        elif line and line[0] not in "#;":
            name, equals, value = line.partition("=")
            assert section and equals and re.fullmatch(r"[A-Z]\w+", name), line
            found.setdefault(name, []).append(value)
    return found


def one(unit: Path, name: str) -> str:
    (value,) = entries(unit)[name]
    return value


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_there_is_with_paths_that_it_declares(unit, tmp_path):
    program, *words = shlex.split(one(unit, "ExecStart"))
    if program.endswith("/brainjepa"):
        require_command(words, tmp_path)
    else:
        assert program == "/usr/bin/caddy" and words[0] == "run"
    told = entries(unit)
    declared = " ".join(told["ReadOnlyPaths"] + told.get("ReadWritePaths", [])).split()
    declared = [path.lstrip("-") for path in declared]
    for path in [program, *words, *re.findall(r"=(/\S+)", " ".join(told["Environment"]))]:
        if path.startswith("/") and path != "/tmp":
            assert any(Path(path).is_relative_to(place) for place in declared), path


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_a_unit_is_somebodys_own_and_can_write_its_state_alone(unit):
    told = entries(unit)
    assert one(unit, "User") == "brainjepa"
    for name, value in {
        "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
        "PrivateTmp": "yes", "UMask": "0077", "RestrictNamespaces": "yes",
        "RestartSec": "15", "StartLimitIntervalSec": "0",
    }.items():  # fmt: skip
        assert told[name] == [value]
    assert told["CapabilityBoundingSet"] in ([""], ["CAP_NET_BIND_SERVICE"])


def test_a_site_is_started_again_unless_it_was_stopped():
    assert (one(SITE, "Restart"), one(SITE, "RestartPreventExitStatus")) == ("always", "0")
    assert one(SITE, "KillMode") == "mixed"
    assert int(one(SITE, "TimeoutStopSec")) > STEP + SENDING + LEAVING
    assert one(SITE, "ReadWritePaths") == "/var/lib/brainjepa/state"


def test_a_server_that_was_stopped_stays_so_and_reaches_no_key_of_the_authority():
    assert (one(SERVER, "Restart"), one(SERVER, "SuccessExitStatus")) == (
        "on-failure",
        str(STOPPED),
    )
    assert (one(SERVER, "IPAddressDeny"), one(SERVER, "IPAddressAllow")) == ("any", "localhost")
    for unit in UNITS:
        if unit.parent.name == "server":
            assert "-/var/lib/brainjepa/consortium/pki/ca.key" in entries(unit)["InaccessiblePaths"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_itself_reads_it(unit, tmp_path):
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(text.replace("User=brainjepa", "User=root"))  # whom this machine knows
    verify = ["systemd-analyze", "verify", "--man=no", str(copy)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    copy.write_text(copy.read_text().replace("ProtectSystem=strict", "ProtectSystme=strict"))
    assert "ProtectSystme" in subprocess.run(verify, capture_output=True, text=True).stderr


def instructions(path: Path) -> Iterator[tuple[str, str]]:
    """Of a Containerfile: the word, and what follows it."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word, " ".join(rest.split())


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.parent.name)
def test_an_image_is_pinned_small_and_nobodys_root(path, tmp_path):
    told = list(instructions(path))
    words = dict(told)  # the last of each
    (python,) = [rest.partition("=")[2] for word, rest in told if rest.startswith("PYTHON=")]
    bases = [rest.split(" AS ")[0] for word, rest in told if word == "FROM"]
    assert set(bases) == {"docker.io/library/python:${PYTHON}"} and IS_PINNED.match(
        f"python:{python}"
    )
    assert words["USER"] == "10001:10001" and "PYTHONDONTWRITEBYTECODE=1" in words["ENV"]
    last = max(i for i, (word, _) in enumerate(told) if word in ("RUN", "COPY"))
    assert last < [word for word, _ in told].index("USER")  # nothing that it could write to itself
    installs = [
        rest for word, rest in told if word == "RUN" for _ in re.findall("pip install", rest)
    ]
    assert installs and all("--no-cache-dir --no-compile" in rest for rest in installs)
    assert all(rest.count("--no-compile") == rest.count("pip install") for rest in installs)
    require_command(json.loads(words["CMD"]), tmp_path / "folder")
    assert json.loads(words["ENTRYPOINT"]) == ["brainjepa"]


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.parent.name)
def test_an_image_holds_what_is_in_the_repository_and_nothing_of_a_run(path):
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert ignored[1] == "*"  # all but:
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        name
        for word, rest in instructions(path)
        if word == "COPY" and not rest.startswith("--from")
        for name in rest.split()[:-1]
    }
    assert copied == kept and all((ROOT / name).exists() for name in copied)
    files = re.findall(r"^    (\S+) /build/(\S+)$", APPTAINER, re.MULTILINE)
    assert {source for source, _ in files} == copied and all(a == b for a, b in files)


def test_what_the_wheel_is_built_from_is_copied():
    project = (ROOT / "pyproject.toml").read_text()
    built = re.search(r"targets\.wheel\].*?sources", project, re.DOTALL)[0]
    needed = {name.split("/")[0] for name in re.findall(r'"([\w./-]+)"', built)}
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().split("\n") if line[:1] == "!"
    }
    assert needed and needed <= kept


def test_the_apptainer_image_runs_the_command():
    base = re.search(r"^From: (\S+)$", APPTAINER, re.MULTILINE)[1]
    assert IS_PINNED.match(base)
    assert {base} == {f"python:{python_of(image)}" for image in IMAGES}
    assert APPTAINER.rstrip().endswith('exec brainjepa "$@"')
    assert APPTAINER.count("pip install") == APPTAINER.count("--no-compile") == 2


def python_of(path: Path) -> str:
    return re.search(r"^ARG PYTHON=(\S+)$", path.read_text(), re.MULTILINE)[1]


def test_the_trial_runs_commands_on_volumes_that_it_has(tmp_path):
    assert COMPOSE["networks"] == {"consortium": {"internal": True}}
    assert list(COMPOSE["services"]) == ["coordinator", "site-01", "site-02", "site-03"]
    for name, service in COMPOSE["services"].items():
        image = ROOT / "examples" / service["build"]["context"] / service["build"]["dockerfile"]
        assert image.resolve() in IMAGES
        assert service["read_only"] and service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["networks"] == ["consortium"] and "ports" not in service
        require_command(list(service["command"]), tmp_path / name)
        places = set()
        for volume in service["volumes"]:
            source, place = re.fullmatch(r"(.*?):(/\w+)(?::ro)?", volume).groups()
            places.add(place)
            if place == "/store":
                assert volume == f"${{STORES:?folder of stores}}/{name}:/store:ro"
            else:
                assert source in COMPOSE["volumes"] and f"{place}" in image.read_text()
        configs = {config["source"]: config["target"] for config in service["configs"]}
        assert set(configs) <= set(COMPOSE["configs"])
        for word in service["command"][2:]:
            assert word in configs.values() or word in places


def test_the_trials_settings_are_settings(tmp_path):
    for name, config in COMPOSE["configs"].items():
        content = yaml.safe_load(config["content"])
        if name == "study":
            study = StudySettings.model_validate(content)
            assert study.sites == ("site-01", "site-02", "site-03")
            continue
        (tmp_path / "store.json").touch()
        assert (content["store"], content["state"]) == ("/store", "/state")
        places = {"store": tmp_path, "state": tmp_path.with_name("state")}
        assert SiteSettings.model_validate({**content, **places}).name == name


def test_what_the_page_for_it_tells_to_type_is_a_command(tmp_path):
    lines = re.findall(r"^docker compose run --rm (\w[\w-]*) (.*?)(?:  +#.*)?$", OPERATIONS, re.M)
    assert len(lines) == 6
    for number, (service, line) in enumerate(lines):
        assert service in COMPOSE["services"]
        require_command(shlex.split(line), tmp_path / str(number))
    for line in re.findall(r"`brainjepa ((?:site|server) [^`]*)`", OPERATIONS):
        group, name, *_ = line.split()
        assert name in typer.main.get_command(command()).commands[group].commands, line


def test_what_the_page_for_it_names_is_there(tmp_path):
    named = re.findall(r"`((?:client|server|examples)/[\w./-]+)`", OPERATIONS)
    assert len(named) == 6 and [name for name in named if not (ROOT / name).exists()] == []
    links = re.findall(r"\]\((?!http)([^)#]+)", OPERATIONS)
    assert [name for name in links if not (ROOT / "docs" / name).exists()] == []
    (tmp_path / "store.json").touch()
    site = {"name": "a", "store": tmp_path, "state": tmp_path.with_name("state")}
    devices, cluster = (
        SiteSettings.model_validate({**site, **yaml.safe_load(text)})
        for text in re.findall(r"```yaml\n(.*?)```", OPERATIONS, re.DOTALL)
    )
    assert devices.devices == ("cuda:0", "cuda:1") and devices.slurm is None
    slurm = cluster.slurm
    assert slurm is not None and slurm.begins_within == SlurmSettings(options={}).begins_within
