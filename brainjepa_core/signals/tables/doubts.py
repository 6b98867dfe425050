"""What a data manager should look at in a table of people: commas, codes for missing, ages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from brainjepa_core.problems import counted
from brainjepa_core.signals.tables.cells import has_decimal_comma, number_or_text
from brainjepa_core.signals.tables.missing_codes import outside_of_life, suspects


def doubts(
    table: str, rows: Sequence[Mapping[str, str]], columns: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """Sentences on columns whose cells may not be what they are taken for; they name nobody.

    Parameters
    ----------
    table : str
        Its name.
    rows : sequence of mapping
        Cells by column, without those that say that nothing is known.
    columns : mapping
        What the table's JSON says of each column.
    """
    notes = []
    for name in sorted({name for row in rows for name in row}):
        cells = [row[name] for row in rows if name in row]
        facts, values = columns.get(name, {}), [number_or_text(cell) for cell in cells]
        commas = sum(map(has_decimal_comma, cells))
        if commas:
            notes.append(
                f"column '{name}' of {table} has a decimal comma in {counted(commas, 'cell')}, "
                "which stay text; write a point"
            )
        if "Levels" not in facts:
            notes += [
                f"column '{name}' of {table} has {code:g} in {count} rows, which looks like "
                f"a code for missing; say missing: [{code:g}], or write n/a"
                for code, count in suspects(values).items()
            ]
        odd = 0 if "Units" in facts else outside_of_life(name, values)
        if odd and not suspects(values):
            notes.append(
                f"column '{name}' of {table} has {odd} ages outside 0 to 120 years; correct "
                "them, or say the unit in the table's JSON (Units)"
            )
    return notes
