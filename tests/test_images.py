"""What images and recipes do, done in a fresh root: where tests run, nothing builds images."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
import yaml
from child_process import environment

ROOT = Path(__file__).parents[1]
IMAGES = {room: ROOT / room / "Containerfile" for room in ("client", "server", "simulations")}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*words: object, cwd: Path) -> str:
    clean = {"PATH": "/usr/bin:/bin", "HOME": str(cwd), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, words)), cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (words, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def copied(text: str, into: Path) -> None:
    """Carry out the COPY lines of a build's first stage."""
    for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                skip = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, into / target, symlinks=True, ignore=skip)
            else:
                shutil.copy(ROOT / source, into / target)


@pytest.mark.slow
@pytest.mark.parametrize("room", IMAGES)
def test_what_an_image_copies_becomes_a_wheel_that_works_alone(room, tmp_path):
    text = IMAGES[room].read_text()
    build, place = tmp_path / "build", tmp_path / "root"
    build.mkdir()
    place.mkdir()
    copied(text, build)
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", cwd=build)
    run(sys.executable, "-m", "venv", "--without-pip", place / "venv", cwd=place)
    python = place / "venv" / "bin" / "python"
    (wheel,) = (build / "dist").glob("*.whl")
    asks_nobody = ("--quiet", "--no-deps", "--no-index")
    tests_python = environment()  # finds pip, which may lie in another environment
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", python, "install", *asks_nobody, wheel],
        env=tests_python, check=True,
    )  # fmt: skip
    # Third-party packages are those of this interpreter; no .pth there leads to the checkout.
    purelib = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place)
    third = [sysconfig.get_path("purelib"), str(Path(yaml.__file__).parents[1])]
    Path(purelib.strip(), "third_party.pth").write_text("\n".join(dict.fromkeys(third)) + "\n")
    (entry,) = re.findall(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    program = place / "venv" / "bin" / json.loads(entry)[0]
    where = run(python, "-c", "import brainjepa; print(brainjepa.__file__)", cwd=place)
    assert where.startswith(str(place))
    assert "brainjepa" in run(program, "--version", cwd=place)
    if room != "client":
        return
    run(program, "paint", "--out", "painted", "--subjects", "2", cwd=place)
    site = Path("painted", "site-01")
    image = site / "atlas" / "tpl-MNI152NLin2009cAsym_atlas-Painted_dseg.nii.gz"
    words = ("site", "prepare", site / "fmriprep", "out", "participant", "--label-image", image)
    run(program, *words, "--atlas", site / "atlas.tsv", "--processes", "1", cwd=place)
    assert (place / "out" / "store" / "store.json").is_file()


@pytest.mark.parametrize("room", IMAGES)
def test_an_image_takes_an_extra_that_there_is(room):
    (extras,) = re.findall(r"'\.\[([\w,]+)\]'", IMAGES[room].read_text())
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_recipe_for_conda_asks_for_what_the_project_does():
    recipe = yaml.safe_load((ROOT / "conda" / "meta.yaml").read_text())
    assert recipe["package"] == {"name": PROJECT["name"], "version": PROJECT["version"]}
    assert recipe["about"]["license"] == PROJECT["license"]
    there = {"pytorch": "torch", "matplotlib-base": "matplotlib"}
    asked = dict(line.split(" ", 1) for line in recipe["requirements"]["run"])
    assert asked.pop("python") == PROJECT["requires-python"]
    ours = dict(re.match(r"([\w.-]+)(.*)", line).groups() for line in PROJECT["dependencies"])
    assert {there.get(name, name): told for name, told in asked.items()} == ours
