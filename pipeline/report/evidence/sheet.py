"""A committed CSV of our own runs: the columns of a line, and how it is written and read."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from granet.types import UserError

Row = dict[str, Any]
"""A line by column; None where a field is empty."""


def typed(fields: Mapping[str, str], columns: Mapping[str, Callable[[str], Any]]) -> Row:
    """A line's fields, read by what ``columns`` has for each."""
    return {name: kind(fields[name]) if fields.get(name) else None for name, kind in columns.items()}


@dataclass(frozen=True)
class Sheet:
    """``columns``: name -> what reads a field; a file without those of ``needed`` is none of ours, others may lack."""

    file: Path
    columns: Mapping[str, Callable[[str], Any]]
    needed: frozenset[str]

    def text_of(self, rows: Sequence[Row]) -> str:
        """The CSV."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.columns)
        for row in rows:
            writer.writerow("" if row[name] is None else row[name] for name in self.columns)
        return out.getvalue()

    def load(self, path: Path | None = None) -> list[Row]:
        """The rows of the CSV. Raises UserError where it is missing, or not what `text_of` writes."""
        path = path or self.file
        if not path.is_file():
            raise UserError(f"{path} is missing; write it with: python -m pipeline.report csv")
        reader = csv.DictReader(io.StringIO(path.read_text()))
        there = {*(reader.fieldnames or ())}
        if strange := sorted((there - {*self.columns}) | (self.needed - there)):
            raise UserError(
                f"{path} is of another version ({strange[0]}); write it anew: python -m pipeline.report csv"
            )
        try:
            return [typed(row, self.columns) for row in reader]
        except (ValueError, TypeError) as error:
            raise UserError(
                f"{path}, line {reader.line_num}: {error}; write it anew: python -m pipeline.report csv"
            ) from None
