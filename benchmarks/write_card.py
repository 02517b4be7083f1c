"""Put measured numbers into a model's card, each with the command that prints it.

    python benchmarks/write_card.py CARD.json --photos photos.json --command "python benchmarks/real_photos.py FOLDER"
    python benchmarks/write_card.py CARD.json --table table.json --what "trained on ict, tested on anny" --command "openau evaluate …"

`photos.json` is written by `benchmarks/real_photos.py --json`, `table.json` by `openau evaluate --json`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

from openau.facs import occurrence_column
from openau.weights.cards import Measure, ModelCard


def photo_measures(file: Path, command: str) -> dict[str, Measure]:
    """OpenAU's own measures on photos (the peers' stay in the README)."""
    found = json.loads(file.read_text())
    return {
        name: _measure(entry, entry["n"], command)
        for name, entry in found.items()
        if "OpenAU" in name and _defined(entry)
    }


def table_measures(file: Path, what: str, command: str) -> dict[str, Measure]:
    """Means and per-AU AUC and F1 of the first table."""
    table = json.loads(file.read_text())[0]
    measures: dict[str, Measure] = {}
    for key, name in (
        ("auc", "mean AUC"),
        ("f1", "mean F1 at 0.5"),
        ("false_alarms", "mean false-alarm rate"),
    ):
        if _defined(table["mean"][key]):
            measures[f"{name}, {what}"] = _measure(table["mean"][key], table["cases"], command)
    for row in table["rows"]:
        for key, name in (("auc", "AUC"), ("f1", "F1")):
            if _defined(row["results"][key]):
                measures[f"{name} {occurrence_column(row['au'])}, {what}"] = _measure(
                    row["results"][key], row["known"], command
                )
    return measures


def _defined(entry: dict[str, Any]) -> bool:
    return all(entry[key] is not None and math.isfinite(entry[key]) for key in ("value", "low", "high"))


def _measure(entry: dict[str, Any], n: int, command: str) -> Measure:
    value = round(entry["value"], 4)
    return Measure(value, min(round(entry["low"], 4), value), max(round(entry["high"], 4), value), n, command)


def main() -> None:
    """Merge the measures and write the card back."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("card", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--what", default="held-out identities")
    parser.add_argument("--command", required=True)
    arguments = parser.parse_args()
    measures: dict[str, Measure] = {}
    if arguments.photos:
        measures |= photo_measures(arguments.photos, arguments.command)
    if arguments.table:
        measures |= table_measures(arguments.table, arguments.what, arguments.command)
    card = ModelCard.read(arguments.card)
    card = dataclasses.replace(card, measured={**card.measured, **measures})
    partial = arguments.card.with_suffix(".partial")
    partial.write_text(card.to_json())
    partial.replace(arguments.card)
    print(f"{arguments.card}: {len(measures)} measures written, {len(card.measured)} in all")


if __name__ == "__main__":
    main()
