"""From a compressed 4D image to ROI signals: nilearn's NiftiLabelsMasker and ours, side by side.

Each way runs in a process of its own, so that its peak memory is its own. Beside them is what the
bytes alone cost: decompressing the file, and nothing else. The image is made up: smooth anatomy,
signals and noise within a brain and 0 outside, so that it compresses about as BOLD does. Labels are
the 450 ROIs in ``shared/data/atlases`` where that folder is (BRAINJEPA_SHARED), else as many cells.

    python benchmarks/bench_parcellate.py                # 97 x 115 x 97 x 200: two minutes
    python benchmarks/bench_parcellate.py --frames 20    # seconds
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARED = Path(os.environ.get("BRAINJEPA_SHARED", ROOT.parent / "shared"))
ATLAS = "BrainJEPA450_TianS3_Schaefer400_17Networks_space-MNI152NLin2009cAsym_res-2mm_dseg.nii.gz"
SHAPE, ROIS = (97, 115, 97), 450
WAYS = ("nilearn", "ours_gzip", "ours_isal", "floor_gzip", "floor_isal")
PIECE = 1 << 18


def make_labels(file: Path) -> None:
    """The atlas if it is there, else cells around random points in an ellipsoid."""
    import nibabel as nib
    import numpy as np
    from scipy.spatial import cKDTree

    if (SHARED / "data" / "atlases" / ATLAS).exists():
        image = nib.load(SHARED / "data" / "atlases" / ATLAS)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine), file)
        return
    rng = np.random.default_rng(0)
    middle = np.array(SHAPE) / 2
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1).reshape(-1, 3)
    inside = (((voxels - middle) / (0.36 * np.array(SHAPE))) ** 2).sum(1) < 1
    inside &= rng.random(len(voxels)) < 0.66  # as many voxels as the atlas has
    seeds = rng.choice(voxels[inside], ROIS, replace=False)
    labels = np.zeros(len(voxels), np.int16)
    labels[inside] = cKDTree(seeds).query(voxels[inside])[1] + 1
    affine = nib.affines.from_matvec(2 * np.eye(3), [-96.5, -132.5, -78.5])
    nib.save(nib.Nifti1Image(labels.reshape(SHAPE), affine), file)


def make_scan(file: Path, labels_file: Path, frames: int) -> None:
    import nibabel as nib
    import numpy as np
    from scipy import ndimage

    image = nib.load(labels_file)
    labels = np.asarray(image.dataobj)
    brain = ndimage.binary_dilation(ndimage.binary_closing(labels > 0, iterations=4), iterations=2)
    rng = np.random.default_rng(0)

    def smooth(sigma: float, deviation: float) -> np.ndarray:
        noise = ndimage.gaussian_filter(rng.standard_normal(SHAPE, np.float32), sigma)
        return noise * (deviation / noise.std())

    anatomy = 9000 + smooth(3, 1500)
    signals = 60 * rng.standard_normal((ROIS + 1, frames))
    data = np.zeros((*SHAPE, frames), np.int16, order="F")
    for frame in range(frames):
        data[..., frame] = np.where(brain, anatomy + signals[labels, frame] + smooth(1, 120), 0)
    scan = nib.Nifti1Image(data, image.affine)
    scan.header.set_zooms((2, 2, 2, 0.735))
    nib.save(scan, file)


def nilearn(scan: Path, labels: Path) -> Callable[[], object]:
    from nilearn.maskers import NiftiLabelsMasker

    return lambda: NiftiLabelsMasker(labels, standardize=None).fit_transform(str(scan)).T


def ours(scan: Path, labels: Path, module: str) -> Callable[[], object]:
    from brainjepa_core.atlas import Atlas
    from brainjepa_core.signals.images import nifti_stream
    from brainjepa_core.signals.images.label_image import LabelImage
    from brainjepa_core.signals.images.parcellate import parcellate

    nifti_stream._zlib = importlib.import_module(module)
    image = LabelImage(labels, Atlas.from_names([f"roi_{i}" for i in range(ROIS)]))
    return lambda: parcellate(scan, image).series


def floor(scan: Path, module: str) -> Callable[[], object]:
    library = importlib.import_module(module)

    def decompress() -> None:
        member = library.decompressobj(wbits=31)
        with scan.open("rb", buffering=0) as stream:
            while piece := stream.read(PIECE):
                member.decompress(piece)

    return decompress


def peak_mb() -> float:
    """Of this process alone: what getrusage says may be what its parent once held."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def measure(way: str, scan: Path, labels: Path, result: Path) -> dict[str, float]:
    """Run one way once, here: seconds without imports, and peak memory with and without them."""
    if way == "nilearn":
        work = nilearn(scan, labels)
    else:
        kind, library = way.split("_")
        module = {"gzip": "zlib", "isal": "isal.isal_zlib"}[library]
        work = ours(scan, labels, module) if kind == "ours" else floor(scan, module)
    before, start = peak_mb(), time.perf_counter()
    series = work()
    figures = {"s": time.perf_counter() - start, "mb": peak_mb(), "mb_over_imports": 0.0}
    figures["mb_over_imports"] = figures["mb"] - before
    if series is not None:
        import numpy as np

        np.save(result, series)
    return figures


def largest_difference(folder: Path, way: str) -> float:
    """Of our means from nilearn's, over the median standard deviation in time."""
    import numpy as np

    theirs, own = np.load(folder / "nilearn.npy"), np.load(folder / f"{way}.npy")
    return float(np.abs(theirs - own).max() / np.median(theirs.std(1)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help="only this one, on the files of --folder")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    if arguments.way:
        folder, way = arguments.folder, arguments.way
        files = (folder / "bold.nii.gz", folder / "atlas.nii.gz", folder / f"{way}.npy")
        print(json.dumps(measure(way, *files)))
        return
    ways = [way for way in WAYS if not way.endswith("isal") or find_spec("isal")]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_labels(folder / "atlas.nii.gz")
        make_scan(folder / "bold.nii.gz", folder / "atlas.nii.gz", arguments.frames)
        report: dict[str, float] = {
            "compressed_mb": (folder / "bold.nii.gz").stat().st_size / 1e6,
            "voxels_mb": 2e-6 * arguments.frames * SHAPE[0] * SHAPE[1] * SHAPE[2],
        }
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(arguments.repeats):
            for way in ways:  # by turns, so that a busy moment of the machine hits them all
                command = [sys.executable, __file__, "--way", way, "--folder", name]
                environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
                output = subprocess.run(
                    command, check=True, capture_output=True, text=True, env=environment
                ).stdout
                runs[way].append(json.loads(output))
        for way, figures in runs.items():
            for figure in figures[0]:
                report[f"{way}_{figure}"] = statistics.median(run[figure] for run in figures)
        for way in ways:
            if way.startswith("ours"):
                report[f"{way}_times_as_fast"] = report["nilearn_s"] / report[f"{way}_s"]
                report[f"{way}_share_of_memory"] = report[f"{way}_mb"] / report["nilearn_mb"]
                report[f"{way}_difference_sd"] = largest_difference(folder, way)
    print(json.dumps({key: float(f"{value:.4g}") for key, value in report.items()}, indent=1))


if __name__ == "__main__":
    main()
