"""What people say of scans on the quality page, and what `prepare` makes of it.

The page gives a file to save beside it. Scans that are rated bad stay out of the store. Ratings
hold subject ids and stay at the site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from brainjepa_client.quality.table import Key, ScanReport
from brainjepa_core.files import atomic_path
from brainjepa_core.problems import counted, plainly
from brainjepa_core.settings import Frozen, problems_of
from brainjepa_core.signals.tables.labels import person_label

RATINGS = "ratings.json"
BAD = "bad"
RATED_BAD = f"rated bad by a person ({RATINGS})"
Word = Literal["good", "unsure", "bad"]


class Rating(Frozen):
    """Of one scan."""

    subject: str
    session: str = ""
    run: str = ""
    rating: Word


class Ratings(Frozen):
    """The file that the page writes.

    Attributes
    ----------
    format : int
    ratings : tuple of Rating
    """

    format: Literal[1] = 1
    ratings: tuple[Rating, ...] = ()


def read_ratings(folder: Path) -> dict[Key, Word]:
    """Ratings by scan, from ``FOLDER/ratings.json``; none where it is missing.

    Raises
    ------
    ValueError
        If the file cannot be read, or rates a scan twice.
    """
    path = folder / RATINGS
    found: dict[Key, Word] = {}
    for one in _read(path).ratings:
        key = one.subject, one.session, one.run
        if found.setdefault(key, one.rating) != one.rating:
            raise _wrong(path, "one scan with two ratings")
    return found


def forget_ratings(folder: Path, label: str) -> None:
    """Take a person out of ``FOLDER/ratings.json``; a file that cannot be read is removed.

    Parameters
    ----------
    folder : Path
    label : str
        Of the person, without ``sub-``.
    """
    path = folder / RATINGS
    try:
        told = _read(path)
    except ValueError:  # whom it names is not known
        path.unlink(missing_ok=True)
        return
    others = tuple(one for one in told.ratings if person_label(one.subject) != label)
    if len(others) < len(told.ratings):
        left = told.model_copy(update={"ratings": others})
        with atomic_path(path) as temporary:
            temporary.write_text(left.model_dump_json(indent=1) + "\n", encoding="utf-8")


def reason(rating: Word | None) -> list[str]:
    """Why a rated scan stays out of the store; empty where it may enter."""
    return [RATED_BAD] if rating == BAD else []


def left_out(reports: Sequence[ScanReport]) -> tuple[list[ScanReport], list[ScanReport]]:
    """Scans that are left out by a rule, and those that are so by what a person says alone."""
    excluded = [report for report in reports if report.status == "excluded"]
    by_rules = [report for report in excluded if report.reasons != (RATED_BAD,)]
    return by_rules, [report for report in excluded if report.reasons == (RATED_BAD,)]


def on_unknown(ratings: Mapping[Key, Word], there: set[Key]) -> list[str]:
    """A sentence where scans are rated that are not there."""
    unknown = sorted(ratings.keys() - there)
    if not unknown:
        return []
    named = " ".join(filter(None, unknown[0]))
    many = counted(len(unknown), "scan that is", "scans that are")
    return [f"{RATINGS} rates {many} not there, such as {named}"]


def _read(path: Path) -> Ratings:
    if not path.exists():
        return Ratings()
    try:
        return Ratings.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise _wrong(path, problems_of(error)[:300]) from error
    except (OSError, UnicodeError) as error:
        raise _wrong(path, plainly(error)) from error


def _wrong(path: Path, found: str) -> ValueError:
    return ValueError(
        f"expected {path.name} in '{path.parent}' as the quality page saves it, found {found}; "
        "save it again from the page, or remove it"
    )
