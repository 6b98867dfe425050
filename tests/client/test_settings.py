"""Site settings: what is wrong is named with its key, what was found and how to mend it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from brainjepa_client.settings import PolicySettings, SiteSettings
from brainjepa_core.atlas import DEFAULT_ATLAS
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.settings import read_settings

ROOT = Path(__file__).parents[2]


def read(folder: Path, **content) -> SiteSettings:
    (folder / "site.yaml").write_text(yaml.safe_dump({"name": "one", **content}))
    return read_settings(folder / "site.yaml", SiteSettings)


def error(folder: Path, **content) -> str:
    with pytest.raises(ValueError) as caught:
        read(folder, **content)
    return str(caught.value)


def test_defaults(stores, tmp_path):
    settings = read(tmp_path, store=str(stores[0]), state=str(tmp_path / "new" / "state"))
    assert settings.device == "cpu" and settings.policy == PolicySettings()
    assert settings.policy.min_subjects == 20 and settings.policy.round_counts_to == 10
    assert settings.policy.allow == ("describe", "gradients", "train", "evaluate")
    assert not (tmp_path / "new").exists()


def test_the_home_folder(stores, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(stores[0].parent))
    settings = read(tmp_path, store=f"~/{stores[0].name}", state="~/state")
    assert settings.store == stores[0] and settings.state == stores[0].parent / "state"


def test_a_missing_store(tmp_path):
    gone = tmp_path / "gone"
    mend = (
        "; import the scans first (brainjepa import), correct the path, or add a section prepare "
        "that says where the scans are, and make the store (brainjepa site prepare)"
    )
    expected = "site.yaml line 3: store: expected the folder of a scan store, found"
    assert error(tmp_path, store=str(gone), state=str(tmp_path)) == (
        f"{expected} '{gone}', no such folder{mend}"
    )
    assert error(tmp_path, store=str(tmp_path), state=str(tmp_path / "s")) == (
        f"{expected} '{tmp_path}', a folder without store.json{mend}"
    )


@pytest.mark.parametrize("inside", ["", "state", "a/b"])
def test_no_state_inside_the_store(stores, tmp_path, inside):
    state = str(stores[0] / inside)
    assert error(tmp_path, store=str(stores[0]), state=state) == (
        "site.yaml line 2: state: expected a folder outside the store, found "
        f"'{Path(state)}' within it; "
        "the store holds scans only: choose another folder"
    )


@pytest.mark.parametrize("name", ["file", "file/state"])
def test_no_state_in_a_file(stores, tmp_path, name):
    (tmp_path / "file").write_text("")
    assert error(tmp_path, store=str(stores[0]), state=str(tmp_path / name)) == (
        "site.yaml line 2: state: expected a folder or the name of a new one, found "
        f"'{tmp_path / name}', "
        "which is a file or lies in one; choose another name"
    )


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"name": "St. Mary's"}, "name: expected text of the form"),
        ({"threads": 0}, "threads: expected a number of at least"),
        ({"device": "gpu"}, "device: expected text of the form"),
        (
            {"computing": {"precision": "tf32"}},
            "expected a GPU for precision: tf32, found device 'cpu'; choose device cuda, or",
        ),
        (
            {
                "device": "slurm",
                "slurm": {"options": {}, "device": "cpu"},
                "computing": {"attention": "cudnn"},
            },
            "expected a GPU for attention: cudnn, found device 'cpu'",
        ),
        (
            {
                "device": "slurm",
                "slurm": {"options": {}},
                "devices": ["cuda:0", "cuda:1"],
                "reduce": "sum",
                "shard_optimizer": True,
                "launcher": "srun {program}",
                "begins_within": 60,
            },
            "expected how jobs compute in section slurm, found devices, reduce, shard_optimizer, "
            "launcher, begins_within beside 'device: slurm'; move devices, reduce,",
        ),
        (
            {"device": "slurm", "slurm": {"options": {}}, "begins_within": 60},
            "found begins_within beside 'device: slurm'; move begins_within there",
        ),
        ({"computing": {"attention": "packed"}}, "expected precision bf16 with attention packed"),
        ({"computing": {"precision": "fp16"}}, "computing.precision: expected 'fp32', 'tf32' or"),
        ({"policy": {"min_subjects": 0}}, "policy.min_subjects: expected a number of at least"),
        ({"policy": {"allow": ["tell"]}}, "policy.allow.0: expected 'describe'"),
        ({"policy": {"min": 3}}, "policy.min: no such field; check the spelling or remove it"),
    ],
)
def test_wrong_fields(stores, tmp_path, wrong, text):
    assert text in error(tmp_path, store=str(stores[0]), state=str(tmp_path / "s"), **wrong)


def test_missing_fields(tmp_path):
    text = error(tmp_path)
    assert "store: expected a value, found none; add the field" in text
    assert "state: expected a value, found none; add the field" in text


def test_the_example_shows_the_defaults(stores, tmp_path):
    content = yaml.safe_load((ROOT / "site_configs" / "site.yaml").read_text())
    content["store"], content["state"] = str(stores[0]), str(tmp_path / "state")
    assert read(tmp_path, **content).policy == PolicySettings()
    assert read(tmp_path, **content).computing == EXACT
    assert set(content["computing"]) == set(Computing.model_fields)
    assert set(content["policy"]) == set(PolicySettings.model_fields)


def test_where_this_machine_stands_in_for_a_gpu_it_computes_exactly(stores, tmp_path):
    choices = {"precision": "bf16", "attention": "packed", "compile": True}
    slurm = {"device": "slurm", "slurm": {"options": {}}, "computing": choices}
    settings = read(tmp_path, store=str(stores[0]), state=str(tmp_path / "s"), **slurm)
    assert settings.computing.attention == "packed" and settings.here().computing == EXACT


def test_paths_start_at_the_yaml_s_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "hospital"
    (home / "scans").mkdir(parents=True)
    (home / "names.txt").write_text("a\nb\n")
    (home / "ages.tsv").write_text("participant_id\tage\n")
    source = {"kind": "series", "folder": "scans", "names": "names.txt"}
    prepare = {"input": source, "atlas": "mine.tsv", "phenotypes": ["ages.tsv"]}
    prepare |= {"quality": "pages", "derivatives": "bids"}
    found = read(home, store="stores/one", state="../state", prepare=prepare)
    assert (found.store, found.state) == (home / "stores" / "one", home / ".." / "state")
    made = found.preparation()
    assert (made.input.folder, made.input.names) == (home / "scans", home / "names.txt")
    assert (made.atlas, made.phenotypes) == (str(home / "mine.tsv"), (home / "ages.tsv",))
    assert (made.quality, made.derivatives) == (home / "pages", home / "bids")
    shipped = read(home, store="s", state="t", prepare={"input": source}).preparation()
    assert shipped.atlas == DEFAULT_ATLAS


def prepared(tmp_path, **changes) -> dict[str, object]:
    """A site that says how its store will be made."""
    (tmp_path / "scans").mkdir(exist_ok=True)
    (tmp_path / "names.txt").write_text("a\nb\n")
    source = {"kind": "series", "folder": str(tmp_path / "scans")}
    source |= {"names": str(tmp_path / "names.txt"), **changes}
    places = {"store": str(tmp_path / "stores" / "one"), "state": str(tmp_path / "state")}
    return {**places, "prepare": {"input": source}}


def test_a_store_that_will_be_prepared_need_not_be_there(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump({"name": "one", **prepared(tmp_path)}))
    settings = read_settings(path, SiteSettings)
    assert settings.preparation().input.kind == "series"
    assert settings.quality == tmp_path / "stores" / "one-quality"


def test_a_prepare_section_that_is_wrong_is_the_only_problem(tmp_path):
    text = error(tmp_path, **prepared(tmp_path, folder=str(tmp_path / "gone")))
    assert text == (
        f"site.yaml line 4: prepare.input.folder: expected a file or folder, found no "
        f"'{tmp_path / 'gone'}'; correct the path, which starts at the YAML's folder"
    )
    text = error(tmp_path, **prepared(tmp_path, names=None))
    assert text.startswith("site.yaml line 3: prepare.input: expected names for input of kind")
    text = error(tmp_path, **prepared(tmp_path, kind="fmriprep"))
    assert text.startswith("site.yaml line 3: prepare.input: expected a label_image for input")


@pytest.mark.parametrize("field", ["store", "state", "prepare.quality", "prepare.derivatives"])
def test_nothing_is_written_into_the_scans_folder(tmp_path, field):
    content = prepared(tmp_path)
    inside = tmp_path / "scans" / "derivatives" / "brainjepa"
    place = content["prepare"] if "." in field else content
    place[field.rpartition(".")[2]] = str(inside)
    assert error(tmp_path, **content).endswith(
        f": {field}: expected a place outside the scans' folder '{tmp_path / 'scans'}', found "
        f"'{inside}' within it, where what is written would be taken for scans; choose another "
        "place"
    )
