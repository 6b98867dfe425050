"""What a site decides: its scans and how they are prepared, its own state, device and policy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from brainjepa_core.consortium.names import SITE_NAME
from brainjepa_core.files import require_outside
from brainjepa_core.pretraining.computing.settings import EXACT, Computing
from brainjepa_core.pretraining.parallel.settings import DEVICE, Devices
from brainjepa_core.privacy.budget import Budget
from brainjepa_core.problems import Count, rounded_down
from brainjepa_core.settings import FilePath, Frozen
from brainjepa_core.signals.preparation import PreparationSettings
from brainjepa_core.signals.storing.store_header import HEADER
from brainjepa_core.sums.protocol import PEOPLE_A_FEATURE

Kind = Literal["describe", "gradients", "train", "evaluate"]


class PolicySettings(Frozen):
    """What leaves this site at most; it holds whatever a study asks for.

    Attributes
    ----------
    min_subjects : int
        People outside the held-out fold without whom no reply with sums or weights leaves.
    min_people_in_sum : int
        Sums over fewer people (a pair of ROIs that few scans show, a small fold) are left out.
    round_counts_to : int
        Numbers of people and scans that are told are rounded down to multiples of this, what a
        reply counts by too. Moments hold the exact numbers of their people.
    min_people_a_feature : int
        Moments of a fold of fewer people for each of their features do not leave by themselves, nor
        does a probe that follows from them; the site then answers with scores of its own probes.
        Within a secure sum, people of all sites count.
    allow : tuple of {"describe", "gradients", "train", "evaluate"}
        Kinds of message that are answered.
    max_steps_per_round : int
        Optimiser steps of one round.
    max_width, max_depth : int
        Of a model's layers. Where the inner layer of a block is more than four times as wide as
        the block, a quarter of it counts as width.
    max_frames : int
        Of a window.
    max_batch_size, max_masks_per_sample : int
        Of an optimiser step.
    max_memory_gb, max_disk_gb : float
        Of 10^9 bytes: of a step's training at most, and of the states that rounds leave behind
        (`brainjepa_client.guarding.sizes` says what is counted). Aligned scans take what those
        leave of the disk, and no more.
    max_minutes_a_round : float
        A round that is not done by then ends after the step at hand, and is refused.
    max_probes : int
        Probes that one question of a task may have judged on this site's people: each tells how
        far one guess is off, and a thousand guesses tell the people's values.
    reset_optimizer : bool
        Start every round with fresh AdamW moments, whatever the study says.
    min_people_a_class : int
        Scores of a class of fewer people do not leave, nor does anything of its task but sums; a
        phenotype of fewer people is not learned.
    share_probe : bool
        Whether the weights of a probe that is fitted on this site's people alone may leave, where
        the floors let its moments leave.
    task_columns : tuple of str, optional
        Phenotypes that tasks, and training on phenotypes, may read; all of them by default.
    require_secure_sum : bool
        Answer nothing but steps of secure sums, and ``describe``.
    privacy_budget : Budget, optional
        The most that all studies together may tell of a person. With it, nothing is answered but
        ``describe`` and what the privacy ledger counts: studies under ``protect: dp``.
    """

    min_subjects: int = Field(20, ge=1)
    min_people_in_sum: int = Field(3, ge=1)
    min_people_a_feature: int = Field(PEOPLE_A_FEATURE, ge=0)
    round_counts_to: int = Field(10, ge=1)
    allow: tuple[Kind, ...] = ("describe", "gradients", "train", "evaluate")
    max_steps_per_round: int = Field(1000, ge=1)
    max_width: int = Field(1280, ge=1)
    max_depth: int = Field(32, ge=1)
    max_frames: int = Field(2000, ge=1)
    max_batch_size: int = Field(1024, ge=1)
    max_masks_per_sample: int = Field(16, ge=1)
    max_memory_gb: float = Field(256.0, gt=0)
    max_disk_gb: float = Field(50.0, gt=0)
    max_minutes_a_round: float = Field(1440.0, gt=0)
    max_probes: int = Field(4, ge=1)
    reset_optimizer: bool = False
    min_people_a_class: int = Field(5, ge=1)
    share_probe: bool = False
    task_columns: tuple[str, ...] | None = None
    require_secure_sum: bool = False
    privacy_budget: Budget | None = None

    def rounded(self, count: Count) -> Count:
        """A number of people or scans, or an array of such, as it is told."""
        return rounded_down(count, self.round_counts_to)


# Options of sbatch that are set here; another value would take the answer away.
_OWN_OPTIONS = frozenset(
    {
        "array", "chdir", "error", "export", "export-file", "help", "hold", "input", "job-name",
        "no-requeue", "open-mode", "output", "parsable", "quiet", "requeue", "test-only", "usage",
        "version", "wait", "wrap",
    }
)  # fmt: skip


class SlurmSettings(Devices):
    """How a site's cluster is asked for what needs the model, and on which devices jobs compute.

    A job that has not begun within ``begins_within`` seconds is cancelled.

    Attributes
    ----------
    options : dict
        Long options of sbatch without their dashes: ``partition: gpu``, ``gres: "gpu:1"``,
        ``time: "04:00:00"``; ``true`` for those without a value.
    device : str
        Of the job: ``cpu``, ``cuda`` or ``cuda:<number>``.
    """

    options: dict[str, str | int | bool]
    device: str = Field("cuda", pattern=DEVICE)

    @field_validator("options")
    @classmethod
    def _of_the_site(cls, options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        for name, value in options.items():
            if name in _OWN_OPTIONS or not re.fullmatch(r"[a-z][a-z-]+", name):
                raise ValueError(
                    f"expected long options of sbatch that a site may choose, found '{name[:40]}'; "
                    "write partition, account, gres, time, mem, cpus-per-task ..., and leave out "
                    "what the worker sets itself (output, export, array ...)"
                )
            if value is False or (isinstance(value, str) and not value.isprintable()):
                raise ValueError(
                    f"expected a text, a number or true for '{name}', found another value; leave "
                    "the option out, or write it on one line"
                )
            if name.startswith("time") and not isinstance(value, str):  # YAML reads base 60
                raise ValueError(
                    f"expected text in quotes for '{name}', found the number {value}; write "
                    f'{name}: "04:00:00"'
                )
        return options


class SiteSettings(Devices):
    """A site: its scans and store, where its state goes, how it computes, what may leave.

    Several devices of training, and how they work together, are told as `Devices` says.

    Attributes
    ----------
    name : str
        What the coordinator and the study's record call this site.
    prepare : PreparationSettings, optional
        From the site's files to its store (``brainjepa site prepare``).
    store : Path
        Folder that an import wrote, or that ``prepare`` will write. ``~`` is the home folder;
        relative paths start at the YAML's folder.
    state : Path
        Folder for optimiser states and the log, on the site's own disk; made when needed.
    device : str
        ``cpu``, ``cuda`` or ``cuda:<number>`` of this machine; ``slurm`` for jobs of its cluster.
    slurm : SlurmSettings, optional
        Of ``device: slurm``.
    computing : Computing
        Precision, compilation and attention of training; exact by default. A study says how far
        from exact it accepts (``training.tolerance``).
    threads : int, optional
        Of torch; by default its own choice, at most the cores that this process may use. Equal
        numbers give equal bits.
    policy : PolicySettings
    """

    name: str = Field(pattern=f"^{SITE_NAME.pattern}$")
    prepare: PreparationSettings | None = None  # before the store, whose check asks for it
    store: FilePath
    state: FilePath
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?|slurm)$")
    slurm: SlurmSettings | None = None
    computing: Computing = EXACT
    threads: int | None = Field(None, ge=1)
    policy: PolicySettings = PolicySettings()

    @field_validator("store")
    @classmethod
    def _is_a_store(cls, path: Path, info: ValidationInfo) -> Path:
        # A prepare section that is itself wrong is missing from the data: one problem at a time.
        imported = "prepare" in info.data and info.data["prepare"] is None
        if imported and not (path / HEADER).is_file():
            found = f"a folder without {HEADER}" if path.is_dir() else "no such folder"
            raise ValueError(
                f"expected the folder of a scan store, found '{path}', {found}; import the scans "
                "first (brainjepa import), correct the path, or add a section prepare that says "
                "where the scans are, and make the store (brainjepa site prepare)"
            )
        return path

    @field_validator("store", "state")
    @classmethod
    def _outside_the_scans(cls, path: Path, info: ValidationInfo) -> Path:
        prepare = info.data.get("prepare")
        if prepare is not None:
            require_outside(path, prepare.input.folder)
        return path

    @field_validator("state")
    @classmethod
    def _outside_the_store(cls, path: Path, info: ValidationInfo) -> Path:
        state, store = path.resolve(), info.data.get("store")
        if store is not None and store.resolve() in (state, *state.parents):
            raise ValueError(
                f"expected a folder outside the store, found '{path}' within it; the store holds "
                "scans only: choose another folder"
            )
        blocking = next(p for p in (state, *state.parents) if p.exists())
        if not blocking.is_dir():
            raise ValueError(
                f"expected a folder or the name of a new one, found '{path}', which is a file or "
                "lies in one; choose another name"
            )
        return path

    @model_validator(mode="after")
    def _one_way_to_compute(self) -> Self:
        if (self.device == "slurm") != (self.slurm is not None):
            found = "no such section" if self.slurm is None else f"device '{self.device}'"
            raise ValueError(
                f"expected 'device: slurm' with a section slurm (options of sbatch), found {found};"
                " add the one, or take the other out"
            )
        fields = Devices.model_fields
        own = [n for n in fields if n != "device" and getattr(self, n) != fields[n].default]
        if self.slurm is not None and own:
            named = ", ".join(own)
            raise ValueError(
                f"expected how jobs compute in section slurm, found {named} beside "
                f"'device: slurm'; move {named} there"
            )
        return self

    @model_validator(mode="after")
    def _device_can(self) -> Self:
        for device in self.trainer.trains_on:
            self.computing.require_on(device)
        return self

    @property
    def trainer(self) -> Devices:
        """Devices of training: a job's, where jobs train."""
        return self.slurm or self

    @property
    def devices_here(self) -> tuple[str, ...]:
        """Devices that this machine has to have."""
        if self.slurm is not None:
            return ("cpu",)
        return (self.device,) if self.launcher is not None else (self.device, *self.devices)

    def here(self) -> SiteSettings:
        """The same site where this process does what jobs and other processes would do."""
        if self.slurm is None:
            return self.of_process(0) if self.devices else self
        return self.model_copy(update={"device": "cpu", "slurm": None, "computing": EXACT})

    @property
    def quality(self) -> Path:
        """Folder of the tables and pages that ``prepare`` and ``qc`` write."""
        told = self.prepare.quality if self.prepare is not None else None
        return told or self.store.with_name(f"{self.store.name}-quality")

    def preparation(self) -> PreparationSettings:
        """How this site's store is made.

        Raises
        ------
        ValueError
            If the site does not say.
        """
        if self.prepare is None:
            raise ValueError(
                f"expected a section 'prepare' in the YAML of site '{self.name}', found none; say "
                "where the scans are (prepare.input; see site_configs/site_fmriprep.yaml)"
            )
        return self.prepare
