"""A synthetic multi-site resting-state cohort whose traits live in the connectivity alone.

How a scan comes about:

1. Networks. K networks, each with a left and a right half, lie between a sensory and an
   association end; their group correlation follows those places (`cohort.traits`).
2. People. A person has L standard normal latent traits. Each trait moves the correlations of the
   networks along its own fixed direction of the tangent space; ancestry moves them a little, and
   a residual of the person's own moves them at random. Age, sex and diagnosis are noisy readings
   of the first three traits.
3. Signals. Networks have Gaussian time courses between 0.01 and 0.1 Hz with the person's
   correlation. An ROI's signal is mostly its own network's and a little its neighbours', plus a
   fifth that only its half of the network shares; beneath it lies autocorrelated noise of its
   own. `CohortSettings.signal_share` of an ROI's variance is signal, whatever the person's
   connectivity. Motion adds bursts to all ROIs at once.
4. Standardisation. Every ROI of every scan is brought to mean 0 and variance 1, so no marginal
   carries a trait; only then does the scanner apply its gain and offset.

A subject is a function of the cohort's seed, the index of the site and their own number, never
of how many others there are.

Shapes: R ROIs, F frames of a scan, K networks, L latent traits, S subjects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import ndtri

from brainjepa_core.arrays import Float32, Float64
from brainjepa_core.settings import Frozen
from brainjepa_simulations.cohort.site_effects import (
    SiteEffects,
    band_limited,
    head_motion,
    roi_noise,
)
from brainjepa_simulations.cohort.traits import ANCESTRIES, Population

REFERENCE_TR = 2.0
HALVES_SHARE = 0.8  # of their variance that the two halves of a network have in common
RELIABILITY = 0.9  # of age, sex and diagnosis as readings of the first three traits
_SITE, _SUBJECT, _SESSION = range(3)  # what a stream of random numbers is for


class CohortSettings(Frozen):
    """Size and difficulty of a synthetic cohort.

    Attributes
    ----------
    seed : int
        Other seed, other people and sites; the population (networks, what a trait does) stays.
    sites : int
        How many.
    subjects_per_site : int or tuple of int
        One number for all sites or one each.
    rois, networks, latents : int
        R, K and L.
    frames : int
        Length of a scan in frames of 2 s. A site with another repetition time scans for as long.
    trs : tuple of float
        Repetition times in seconds, taken in turn by the sites.
    signal_share : float
        Mean share of an ROI's variance that the networks explain; the rest is noise.
    trait_effect, individuality, ancestry_effect : float
        Standard deviation over people, in the tangent space, that one trait, the person's own
        residual and ancestry give an edge between networks.
    site_strength : float
        How much sites differ; 0 makes them equal but for repetition time, 1 is realistic.
    missing_rois : int
        ROIs that every third site lacks, beginning with the third.
    short_scans, second_sessions : float
        Shares of scans of half the length and of subjects scanned twice.
    """

    seed: int = Field(0, ge=0)
    sites: int = Field(5, ge=1)
    subjects_per_site: int | tuple[int, ...] = 60
    rois: int = Field(100, ge=4)
    networks: int = Field(8, ge=2)
    latents: int = Field(4, ge=3)
    frames: int = Field(200, ge=16)
    trs: tuple[float, ...] = (2.0, 2.5, 1.5, 2.0, 3.0)
    signal_share: float = Field(0.2, gt=0, lt=0.6)
    trait_effect: float = Field(0.2, ge=0, le=2)
    individuality: float = Field(0.1, ge=0, le=2)
    ancestry_effect: float = Field(0.1, ge=0, le=2)
    site_strength: float = Field(1.0, ge=0, le=3)
    missing_rois: int = Field(2, ge=0)
    short_scans: float = Field(0.1, ge=0, le=1)
    second_sessions: float = Field(0.2, ge=0, le=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.rois < 2 * self.networks:
            raise ValueError(
                f"expected at least two ROIs a network (one a hemisphere), found {self.rois} ROIs "
                f"for {self.networks} networks; raise rois to {2 * self.networks} or lower networks"
            )
        edges = self.networks * (self.networks - 1) // 2
        if self.latents + len(ANCESTRIES) > edges:
            raise ValueError(
                f"expected at most {edges - len(ANCESTRIES)} latents for {self.networks} networks "
                f"({edges} edges, {len(ANCESTRIES)} taken by ancestry), found {self.latents}; "
                "raise networks or lower latents"
            )
        if not self.trs or not all(0.3 <= tr <= 4.0 for tr in self.trs):
            raise ValueError(
                f"expected repetition times in seconds from 0.3 to 4, found trs={self.trs}; "
                "give at least one"
            )
        if self.missing_rois > self.rois // 2:
            raise ValueError(
                f"expected at most half of the {self.rois} ROIs missing, found missing_rois="
                f"{self.missing_rois}; lower it"
            )
        counts = self.subject_counts
        if len(counts) != self.sites or min(counts) < 1:
            raise ValueError(
                f"expected a positive number of subjects for each of {self.sites} sites, found "
                f"subjects_per_site={self.subjects_per_site}; give one number or one a site"
            )
        return self

    @property
    def subject_counts(self) -> tuple[int, ...]:
        """Subjects at each site."""
        if isinstance(self.subjects_per_site, int):
            return (self.subjects_per_site,) * self.sites
        return self.subjects_per_site

    @property
    def population(self) -> Population:
        return Population.of_size(self.rois, self.networks, self.latents)


@dataclass(frozen=True)
class Subject:
    """Who a subject is; `latents` [L] is what the connectivity carries."""

    name: str
    age: float
    sex: str
    diagnosis: str
    ancestry: str
    latents: Float64


@dataclass(frozen=True)
class Scan:
    """One session of one subject: `series` is float32 [R, F], a row of NaN a missing ROI."""

    subject: str
    session: str
    series: Float32
    mean_fd: float


@dataclass(frozen=True)
class SiteCohort:
    """One site's subjects and scans; scans are in the order of subjects, then sessions."""

    name: str
    tr: float
    rois: tuple[str, ...]
    subjects: tuple[Subject, ...]
    scans: tuple[Scan, ...]

    @property
    def latents(self) -> Float64:
        """Trait scores, float64 [S, L]."""
        return np.stack([subject.latents for subject in self.subjects])


def generate_site(settings: CohortSettings, index: int) -> SiteCohort:
    """Generate one site of a cohort; the others need not be."""
    population = settings.population
    effects = SiteEffects.draw(
        _stream(settings, _SITE, index),
        rois=settings.rois,
        tr=settings.trs[index % len(settings.trs)],
        strength=settings.site_strength,
        missing=settings.missing_rois if index % 3 == 2 else 0,
    )
    subjects: list[Subject] = []
    scans: list[Scan] = []
    for number in range(settings.subject_counts[index]):
        rng = _stream(settings, _SUBJECT, index, number)
        subject = _subject(settings, effects, f"sub-{index + 1:02d}{number + 1:04d}", rng)
        brain = _brain(settings, population, subject, rng)
        sessions = 2 if rng.random() < settings.second_sessions else 1
        subjects.append(subject)
        for session in range(sessions):
            stream = _stream(settings, _SESSION, index, number, session)
            series, mean_fd = _scan(settings, effects, brain, stream)
            scans.append(Scan(subject.name, f"{session + 1:02d}", series, mean_fd))
    return SiteCohort(
        f"site-{index + 1:02d}", effects.tr, population.rois, tuple(subjects), tuple(scans)
    )


def _stream(settings: CohortSettings, *what: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(settings.seed, spawn_key=what))


def _subject(
    settings: CohortSettings, effects: SiteEffects, name: str, rng: np.random.Generator
) -> Subject:
    """Draw a person: traits first, then what is written down about them."""
    latents = rng.standard_normal(settings.latents)
    reading = np.sqrt(RELIABILITY) * latents[:3]
    reading += np.sqrt(1 - RELIABILITY) * rng.standard_normal(3)
    age_score, sex_score, case_score = reading
    return Subject(
        name=name,
        age=round(float(np.clip(48 + 15 * (age_score + effects.age_shift), 18, 80)), 1),
        sex="F" if sex_score > 0 else "M",
        diagnosis="case" if case_score > -ndtri(effects.prevalence) else "control",
        ancestry=ANCESTRIES[rng.choice(len(ANCESTRIES), p=effects.ancestry)],
        latents=latents,
    )


@dataclass(frozen=True)
class _Brain:
    """What all sessions of a person share."""

    networks: NDArray[np.floating]  # [R, K] weights of K independent time courses in an ROI
    half: NDArray[np.int64]  # [R] network half of each ROI
    share: Float64  # [R] share of an ROI's variance that is signal
    tidiness: float  # multiplies the noise


def _brain(
    settings: CohortSettings, population: Population, subject: Subject, rng: np.random.Generator
) -> _Brain:
    """Draw the person's connectivity, and how well each ROI follows the networks."""
    correlation = population.person(
        subject.latents,
        ANCESTRIES.index(subject.ancestry),
        rng,
        trait_effect=settings.trait_effect,
        ancestry_effect=settings.ancestry_effect,
        individuality=settings.individuality,
    )
    networks = population.mixing @ np.linalg.cholesky(correlation)
    # Networks that correlate more would add up to more variance in an ROI that hears both.
    networks /= np.linalg.norm(networks, axis=1, keepdims=True)
    fidelity = population.fidelity + 0.1 * rng.standard_normal(settings.rois)
    return _Brain(
        networks=networks,
        half=population.half,
        share=np.clip(settings.signal_share * fidelity, 0.01, 0.99),
        tidiness=float(np.exp(0.1 * rng.standard_normal())),
    )


def _scan(
    settings: CohortSettings, effects: SiteEffects, brain: _Brain, rng: np.random.Generator
) -> tuple[Float32, float]:
    """Measure a brain for one session: ROI signals float32 [R, F] and mean FD in mm."""
    seconds = settings.frames * REFERENCE_TR
    if rng.random() < settings.short_scans:
        seconds /= 2
    frames, tr = round(seconds / effects.tr), effects.tr
    whole = band_limited(rng, settings.networks, frames, tr)
    halves = band_limited(rng, 2 * settings.networks, frames, tr)
    signal = np.sqrt(HALVES_SHARE) * (brain.networks @ whole)
    signal += np.sqrt(1 - HALVES_SHARE) * halves[brain.half]
    noise = roi_noise(rng, settings.rois, frames, tr, effects.smoothness)
    burst, mean_fd = head_motion(rng, settings.rois, frames, tr, effects.motion)
    series = np.sqrt(brain.share)[:, None] * signal + burst
    series += effects.noise * brain.tidiness * np.sqrt(1 - brain.share)[:, None] * noise
    series -= series.mean(axis=1, keepdims=True)
    series /= series.std(axis=1, keepdims=True)
    series = effects.gain[:, None] * series + effects.offset[:, None]
    series[effects.missing] = np.nan
    return series.astype(np.float32), mean_fd
