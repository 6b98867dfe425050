"""All attacks of the bench, in the order of its table."""

from __future__ import annotations

from brainjepa_simulations.attacks.asking import rows as asking
from brainjepa_simulations.attacks.attack import Attack
from brainjepa_simulations.attacks.guessing import (
    mean_connectivity,
    membership,
    membership_by_people,
)
from brainjepa_simulations.attacks.guessing.canary import audit_rows
from brainjepa_simulations.attacks.lying import backdoor, several_rounds
from brainjepa_simulations.attacks.lying import rows as lying

PEOPLE, AGES = "people whose connectivity is known", "people whose age is known"
ATTACKS: dict[str, Attack] = {
    attack.name: attack
    for attack in (
        Attack(
            "folds",
            "Ask for sums over all but one fold, for many splits, and solve for the people.",
            asking.rows_of(asking.fold_differences, PEOPLE),
        ),
        Attack(
            "two-settings",
            "Ask one study with two settings, so that two sums differ by one person.",
            asking.rows_of(asking.two_settings, PEOPLE),
        ),
        Attack(
            "known-scans",
            "Read the age of people whose scans are known from moments of one honest answer.",
            asking.rows_of(asking.known_scans, AGES),
        ),
        Attack(
            "moments",
            "Intersect the spans of moments of many splits: embeddings and ages of people.",
            asking.rows_of(asking.spans_of_moments, "people whose embedding and age are known"),
        ),
        Attack(
            "counts",
            "Count the people of at most each age.",
            asking.rows_of(asking.counted_ages, AGES),
        ),
        Attack(
            "guesses",
            "Let guesses of one age for everybody be judged.",
            asking.rows_of(asking.judged_ages, AGES),
        ),
        Attack(
            "inversion",
            "Send weights whose update is the window of a person, and ask for one step.",
            asking.rows_of(asking.inverted_windows, "people whose window 5 rounds tell"),
        ),
        Attack(
            "membership",
            "Tell from weights whether the person of a scan took part in training.",
            membership.rows,
        ),
        Attack(
            "membership-by-people",
            "The same of sites of ten and of a hundred people, with noise and without.",
            membership_by_people.rows,
        ),
        Attack(
            "mean-connectivity",
            "Tell from a mean connectivity whether the person of a scan is in it.",
            mean_connectivity.rows,
        ),
        Attack("poisoning", "Turn one round by one lying site's reply.", lying.rows),
        Attack(
            "poisoning-rounds",
            "Spoil a study by one lying site in every round, judged by the yardstick.",
            several_rounds.rows,
        ),
        Attack(
            "backdoor",
            "Make a pattern of one ROI decide the embedding, by one site that trains on it.",
            backdoor.rows,
        ),
        Attack(
            "canary",
            "Tell whether a person made to be recognised was in a private training.",
            audit_rows,
        ),
    )
}
