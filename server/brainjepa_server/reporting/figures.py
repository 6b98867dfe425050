"""Pictures of a federated study, each a matplotlib Figure that any program can save.

Shapes: R ROIs, m gradient components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

from brainjepa_core.arrays import Float64
from brainjepa_core.atlas import UNKNOWN, Atlas
from brainjepa_core.gradients import ConsensusBasis
from brainjepa_core.gradients.consensus import SWAPPABLE_GAP
from brainjepa_core.pages.brain import brain_views
from brainjepa_core.pages.palette import (
    BLUE,
    DIVERGING,
    GREEN,
    GREY,
    GRID,
    INK,
    ORANGE,
    PALE,
    VERMILLION,
    styles,
)
from brainjepa_server.record.basis_facts import BasisFacts
from brainjepa_server.record.history import (
    FEDERATED,
    POOLED,
    RANDOM,
    START,
    RoundRecord,
    RunHistory,
)
from brainjepa_server.reporting.verdict import Comparison

ROUND = (1, 2, 5, 10)  # numbers between ticks, times powers of ten
NAMED_SITES = 10  # with more, losses are bands over the sites
BARS = 40  # with more sites, drift is a histogram
DRAWN_GRADIENTS = 3  # on the brain
FEWEST_LABELLED = 0.03  # share of the ROIs that a network needs for its name beside the matrix


def consensus(
    basis: ConsensusBasis, mean_fc: ArrayLike | None = None, atlas: Atlas | None = None
) -> Figure:
    """Where the basis places ROIs, and the mean connectivity it was made of.

    Parameters
    ----------
    basis : ConsensusBasis
    mean_fc : array_like, shape (R, R), optional
        In the order of the basis' ROIs; missing pairs may be NaN.
    atlas : Atlas, optional
        Names the networks; read from the ROIs' names by default.
    """
    atlas = atlas or Atlas.from_names(basis.rois)
    figure, panels = _panels(1 if mean_fc is None else 2, width=11, height=4.6)
    index = atlas.network_index
    names = list(dict.fromkeys(atlas.networks))
    first, second = basis.gradients[:, 0], basis.gradients[:, min(1, basis.gradients.shape[1] - 1)]
    for i, (name, style) in enumerate(zip(names, styles(len(names)), strict=True)):
        chosen = index == i
        panels[0].scatter(
            first[chosen], second[chosen], s=16, **style._asdict(), label=_network(name)
        )
    if atlas.has_networks:
        _legend_right(panels[0], len(names))
    panels[0].set(title="Consensus gradients", xlabel="gradient 1", ylabel="gradient 2")
    panels[0].xaxis.set_major_locator(MaxNLocator(5))  # small numbers are long ones
    if mean_fc is not None:
        _matrix(panels[1], np.asarray(mean_fc, np.float64), index, names)
    return figure


def gradients_on_brain(basis: ConsensusBasis, centroids: Float64) -> Figure:
    """The first gradients at the place of each ROI, in four views of the brain.

    Parameters
    ----------
    basis : ConsensusBasis
    centroids : ndarray [R, 3]
        mm, MNI.
    """
    shown = basis.gradients[:, :DRAWN_GRADIENTS].T
    scaled = {f"gradient {i}": g / (np.abs(g).max() or 1.0) for i, g in enumerate(shown, 1)}
    label = "place along the gradient, of its largest"
    return brain_views(scaled, centroids, label, limits=(-1.0, 1.0))


def spectrum(facts: BasisFacts) -> Figure:
    """Eigenvalues of the basis and the gaps between neighbours; small gaps may swap."""
    figure, (left, right) = _panels(2, height=3.2)
    values = _numbers(facts.eigenvalues)
    left.plot(np.arange(1, len(values) + 1), values, "o-", color=BLUE, markersize=4)
    left.set(title="Eigenvalues", xlabel="component", ylim=(0, None))
    gaps = _numbers(facts.eigengaps)
    small = gaps < SWAPPABLE_GAP
    places = np.arange(1, len(gaps) + 1)
    right.bar(places[~small], gaps[~small], color=BLUE)
    right.bar(places[small], gaps[small], color=ORANGE, label="neighbours that may swap")
    right.axhline(SWAPPABLE_GAP, color="k", linewidth=0.6, linestyle="--")
    right.set(title="Relative gap to the next component", xlabel="component")
    if small.any():
        right.legend(fontsize=8, frameon=False)
    for ax in (left, right):
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=ROUND))
    return figure


def losses(rounds: Sequence[RoundRecord]) -> Figure:
    """Each site's loss, of many sites its spread over them, and the weighted mean, by round."""
    figure, (ax,) = _panels(1, width=7.5, height=3.6)
    sites = sorted({name for record in rounds for name in record.sites})
    draw = _lines_of_sites if len(sites) <= NAMED_SITES else _bands_over_sites
    draw(ax, rounds, sites)
    mean = [(r.number, r.loss) for r in rounds]
    dot = "o" if len(rounds) == 1 else ""
    _line(ax, mean, color="k", linewidth=2, marker=dot, markersize=4, label="weighted mean")
    known = [loss for record in rounds for loss in _losses(record)]
    ax.set(title="Loss by site (says little by itself)", ylim=(0, 1.1 * max(known, default=0) or 1))
    _rounds_below(ax)
    _legend_right(ax, len(ax.get_legend_handles_labels()[0]))
    return figure


def _lines_of_sites(ax: Axes, rounds: Sequence[RoundRecord], sites: Sequence[str]) -> None:
    for (color, marker), site in zip(styles(len(sites)), sites, strict=True):
        pairs = [(r.number, r.sites[site].loss) for r in rounds if site in r.sites]
        _line(ax, pairs, color=color, linewidth=1.1, marker=marker, markersize=3, label=site)


def _bands_over_sites(ax: Axes, rounds: Sequence[RoundRecord], sites: Sequence[str]) -> None:
    """The lowest and the highest loss of each round, its quartiles and its median."""
    known = [(record.number, found) for record in rounds if (found := _losses(record))]
    if not known:
        return
    numbers = [number for number, _ in known]
    low, first, middle, third, high = np.transpose(
        [np.quantile(found, (0, 0.25, 0.5, 0.75, 1)) for _, found in known]
    )
    if len(known) == 1:  # a band of one round has no width
        dots = known[0][1]
        ax.plot(numbers * len(dots), dots, "o", color=PALE, markersize=3, label="sites")
    ax.fill_between(numbers, low, high, color=GRID, label="all sites")
    ax.fill_between(numbers, first, third, color=PALE, label="middle half of the sites")
    ax.plot(numbers, middle, color=BLUE, linewidth=1.5, label="median site")


def _losses(record: RoundRecord) -> list[float]:
    return [site.loss for site in record.sites.values() if site.loss is not None]


def progress(history: RunHistory, pool: str | None, outcome: str) -> Figure:
    """What people's embeddings tell of them, by evaluated round, beside other models.

    The axis begins at 0, which is knowing nothing, so that a gain looks as large as it is.
    """
    figure, (ax,) = _panels(1, width=7.5, height=3.4)
    comparison = Comparison.of(history)
    evaluated = [record for record in history.rounds if record.yardstick]
    rows = [row for record in evaluated for row in record.yardstick]
    measured = Comparison((*comparison.rows, *reversed(rows)))
    pairs = [(r.number, Comparison(r.yardstick).r2(FEDERATED, pool, outcome)) for r in evaluated]
    _line(ax, pairs, color=BLUE, marker="o", markersize=3.5, label=FEDERATED)
    others: list[tuple[str, str, float | None]] = [
        (name, color, measured.r2(name, pool, outcome))
        for name, color in ((POOLED, GREEN), (START, VERMILLION), (RANDOM, GREY))
    ]
    others.append(("sites alone, mean", ORANGE, _mean(measured.alone(pool, outcome))))
    for name, color, value in others:
        if value is not None:
            ax.axhline(value, color=color, linestyle="--", linewidth=1.2, label=name)
    known = [value for value in (*(r2 for _, r2 in pairs), *(v for _, _, v in others)) if value]
    low, high = min([0.0, *known]), max([0.05, *known])
    margin = 0.06 * (high - low)
    ax.set(title=f"What the model tells of {outcome}", ylabel="R2")
    ax.set_ylim(low - margin if low < 0 else 0, high + margin)
    _rounds_below(ax)
    _legend_right(ax, len(ax.lines))
    return figure


def drift(degrees: Mapping[str, float | None]) -> Figure:
    """Each site's largest principal angle to the consensus, in degrees; of many, how many each."""
    known = sorted((value, site) for site, value in degrees.items() if value is not None)
    few = len(known) <= BARS
    figure, (ax,) = _panels(1, width=7.5, height=1.3 + 0.24 * len(known) if few else 3.4)
    if few:
        ax.barh([site for _, site in known], [value for value, _ in known], 0.65, color=BLUE)
        for value, site in known:
            ax.annotate(
                f"{value:.0f}°", (value, site), (4, 0), textcoords="offset points", va="center"
            )
    else:
        values = [value for value, _ in known]
        ax.hist(values, bins=list(range(0, 91, 3)), color=BLUE, edgecolor="w", linewidth=0.5)
        middle = float(np.median(values))
        ax.axvline(middle, color=INK, linestyle="--", linewidth=1)
        ax.set_title(f"median {middle:.0f}°", loc="right", fontsize=9)
        ax.set_ylabel("sites")
    ax.set_title("How far each site's own gradients are from the consensus", loc="left")
    ax.set_xlim(0, 97)
    ax.set_xlabel("largest principal angle in degrees (few subjects raise it)")
    ax.set_xticks(range(0, 91, 15))
    return figure


def traffic(rounds: Sequence[RoundRecord]) -> Figure:
    """Bytes sent, and time spent, by round."""
    figure, (left, right) = _panels(2, height=3.2)
    numbers = [record.number for record in rounds]
    down = np.array([record.bytes_down for record in rounds], float)
    up = np.array([record.bytes_up for record in rounds], float)
    unit, scale = unit_of_bytes(float(max([1.0, *(down + up)])))
    width = 0.8 if len(rounds) <= 60 else 1.0
    left.bar(numbers, down / scale, width, color=BLUE, label="to sites")
    left.bar(numbers, up / scale, width, bottom=down / scale, color=ORANGE, label="from sites")
    left.set(title="Sent in a round, all sites together", ylabel=unit)
    total = _numbers([record.seconds for record in rounds])
    beyond = np.minimum(_numbers([record.seconds_beyond_sites for record in rounds]), total)
    known = np.nan_to_num(beyond)
    right.bar(numbers, total - known, width, color=PALE, label="sites at work")
    right.bar(
        numbers, known, width, bottom=total - known, color=VERMILLION,
        label="sending, waiting, adding",
    )  # fmt: skip
    right.set(title="Time of a round", ylabel="seconds")
    for ax in (left, right):
        _rounds_below(ax)
        ax.legend(
            fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2
        )
    return figure


def baselines(history: RunHistory, outcome: str) -> Figure:
    """The federated model beside pooled training, sites alone and random weights, by pool."""
    comparison = Comparison.of(history)
    pools = comparison.pools_of(outcome)
    bars: list[tuple[str, str, list[float | None]]] = [
        (name, color, [comparison.r2(name, pool, outcome) for pool in pools])
        for name, color in ((POOLED, GREEN), (FEDERATED, BLUE), (START, VERMILLION))
    ]
    alone = [comparison.alone(pool, outcome) for pool in pools]
    bars.append(("sites alone (mean; dots are sites)", ORANGE, [_mean(v) for v in alone]))
    bars.append((RANDOM, PALE, [comparison.r2(RANDOM, pool, outcome) for pool in pools]))
    bars = [bar for bar in bars if any(value is not None for value in bar[2])]
    figure, (ax,) = _panels(1, width=8, height=1.5 + max(1, len(pools)) * (0.25 + 0.2 * len(bars)))
    height = 0.82 / max(1, len(bars))
    for i, (name, color, values) in enumerate(bars):
        places = np.arange(len(pools)) + i * height
        ax.barh(places, _numbers(values), height * 0.92, color=color, label=name)
        if color == ORANGE:
            for place, dots in zip(places, alone, strict=True):
                faint = min(0.8, NAMED_SITES / max(1, len(dots)))  # so that many can be told apart
                ax.plot(dots, [place] * len(dots), "o", color=INK, markersize=3, alpha=faint)
    ax.set_yticks(np.arange(len(pools)) + 0.41 - height / 2, pools)
    ax.invert_yaxis()
    ax.axvline(0, color="k", linewidth=0.6)
    ax.set(title=f"What is read of {outcome}", xlabel="R2")
    if bars:
        ax.legend(fontsize=8.5, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _panels(count: int, width: float = 10, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    panels = list(figure.subplots(1, count, squeeze=False)[0])
    for ax in panels:
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize(11)
    return figure, panels


def _matrix(ax: Axes, mean_fc: Float64, index: NDArray[np.int64], names: list[str]) -> None:
    order = np.argsort(index, kind="stable")
    shown = mean_fc[np.ix_(order, order)]
    off = shown[~np.eye(len(shown), dtype=bool)]
    limit = float(np.nanquantile(np.abs(off), 0.98)) if np.isfinite(off).any() else 1.0
    image = ax.imshow(shown, cmap=DIVERGING, vmin=-limit, vmax=limit, interpolation="nearest")
    if len(names) > 1:
        ends = np.cumsum(np.bincount(index))
        for end in ends[:-1] - 0.5:
            ax.axhline(end, color="k", linewidth=0.4)
            ax.axvline(end, color="k", linewidth=0.4)
        sizes = np.bincount(index)
        large = [i for i in range(len(names)) if sizes[i] >= FEWEST_LABELLED * len(index)]
        ax.set_yticks([ends[i] - sizes[i] / 2 for i in large], [_network(names[i]) for i in large])
        ax.tick_params(axis="y", labelsize=8, length=0)
    ax.set_xticks([])
    ax.spines[:].set_visible(False)
    ax.set_title("Mean connectivity, ROIs by network")
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="correlation")


def _network(name: str) -> str:
    return "no network" if name == UNKNOWN else name


def _line(ax: Axes, pairs: Sequence[tuple[int, float | None]], **style: object) -> None:
    ax.plot([x for x, _ in pairs], _numbers([y for _, y in pairs]), **style)  # type: ignore[arg-type]


def _rounds_below(ax: Axes) -> None:
    ax.set_xlabel("round")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=ROUND))
    low, high = ax.get_xlim()
    if high - low < 2:  # one round
        ax.set_xlim((low + high) / 2 - 1.5, (low + high) / 2 + 1.5)


def _legend_right(ax: Axes, entries: int) -> None:
    if entries:
        columns = 1 + (entries - 1) // 18
        ax.legend(
            fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), ncols=columns
        )


def _numbers(values: Sequence[float | None]) -> Float64:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def unit_of_bytes(largest: float) -> tuple[str, float]:
    """Name and size in bytes of the decimal unit that suits a number of bytes."""
    units = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))
    return next(((name, size) for name, size in units if largest >= size), ("bytes", 1.0))
