"""What the plasticity study says of the paper's claims: changes in accuracy by learning rate and by regeneration.

A place is a network of one figure, and a pruning rate where regeneration is compared, or the accuracies before and
after. Numbers are means over the epochs of pruning, seed by seed. A pair of branches of which one diverged is left out;
so is a pruning rate (where two rates are compared, an epoch) of a seed with a diverged branch at either end.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportIndexIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections.abc import Callable, Iterator
from typing import Any

from pandas import DataFrame
from pandas.api.typing import DataFrameGroupBy

from pipeline.report.noise import Stat, compared
from pipeline.report.paper.claims import Claim
from pipeline.report.paper.judge import Judged, Setting, Side
from pipeline.report.results import Results
from pipeline.report.tables.plasticity import SPARSITIES, WAYS, Study, by_phase, departures, studies
from pipeline.report.words import listed, setting, signed_spread, spread

BySeed = dict[int, float]
NAMES = {
    "regenerated": ("regenerated", "not regenerated"),
    "phase": ("first learning rate", "last"),
    "first_drop": ("first learning rate", "second"),
    "late": ("learning rate before the last", "last"),
    "phase_regenerated": ("first learning rate", "last"),
    "rate": ("smallest pruning rate", "largest"),
    "gain": ("gain at the largest pruning rate", "at the smallest"),
}
"""What the sides of a contrast are called."""
ENDS = {
    "phase": ("phase", WAYS[False], (0, -1)),
    "first_drop": ("phase", WAYS[False], (0, 1)),
    "late": ("phase", WAYS[False], (-2, -1)),
    "phase_regenerated": ("phase", WAYS[True], (0, -1)),
    "rate": ("rate", WAYS[False], (0, -1)),
    "gain": ("rate", "difference", (-1, 0)),
}
"""Contrasts of two ends: along what, which change, and the ends in the order of their sides."""
OF_TWO_DROPS = {"first_drop", "late"}
MILD, EXTREME = 0.5, 0.98
"""Pruning rates that Section 3.4 calls mild, or less, and extremely large."""
RECOVERY: dict[str, Callable[[DataFrame], Any]] = {
    "low": lambda rows: rows["rate"] == rows["rate"].min(),
    "high": lambda rows: rows["rate"] == rows["rate"].max(),
    "early": lambda rows: (rows["phase"] == 0) & (rows["rate"] < EXTREME),
    "later_mild": lambda rows: (rows["phase"] > 0) & (rows["rate"] <= MILD),
    "later": lambda rows: (rows["phase"] > 0) & (rows["rate"] > MILD),
    "second_drop": lambda rows: rows["phase"] > 1,
    "very_sparse": lambda rows: (rows["pretrained"] >= SPARSE) & (rows["rate"] <= MILD),
}
"""Contrasts of the accuracies after and before, without regeneration: which branches have them."""
LOSSES = {"high", "later", "second_drop"}
"""Those of them of which the first side is the accuracy before."""
SPARSE = 0.9
"""Pre-trained sparsities of Figure 3's columns that Section 3.4 calls extreme."""


def of_study(claim: Claim, results: Results) -> Judged:
    """A claim about the study in the light of its branches."""
    outcome, contrast = claim.study or ("", "")
    settings = []
    for study in studies(results):
        in_paper = study.in_paper and not departures(results, study)
        for place, *changes in _changes(study, contrast) if study.outcome == outcome else ():
            if all(changes):
                names = NAMES.get(contrast) or _ends_of_recovery(contrast)
                words = signed_spread if contrast in NAMES else spread
                sides = [_side(name, one, words) for name, one in zip(names, changes, strict=True)]
                title = f"{setting(study.dataset, study.model)}, as Figure {study.figure}, {place}"
                settings.append(
                    Setting(claim, title, (sides[0], sides[1]), compared(*changes), None, in_paper)
                )
    absent = {
        sparsity
        for study in studies(results)
        for sparsity in SPARSITIES[study.granularity]
        if study.outcome == outcome and sparsity not in study.entries("pretrained")
    }
    unpruned = f"networks of {listed(sorted(absent))} sparsity" if absent else ""
    in_paper, elsewhere = ([one for one in settings if one.in_paper is where] for where in (True, False))
    return Judged(claim, in_paper, elsewhere, unpruned)


def _changes(study: Study, contrast: str) -> Iterator[tuple[str, BySeed, BySeed]]:
    """The place, and the mean changes of both sides by seed; of a recovery, the accuracies."""
    frame = by_phase(study)
    if contrast == "regenerated" and "difference" in frame:
        pairs = frame.dropna(subset="difference").groupby(["pretrained", "rate"])
        yield from _by_rate(pairs, (WAYS[True], WAYS[False]))
    if contrast in RECOVERY:
        rows = study.branches[~study.branches["regenerated"]].dropna(subset="change")
        groups = rows[RECOVERY[contrast](rows)].groupby(["pretrained", "rate"])
        yield from _by_rate(groups, _ends_of_recovery(contrast))
    if contrast in ENDS:
        along, column, which = ENDS[contrast]
        if column not in frame or frame[along].nunique() < 2 + (contrast in OF_TWO_DROPS):
            return
        for sparsity, rows in frame.groupby("pretrained"):
            across = "epoch" if along == "rate" else "rate"
            means = (
                rows.groupby(["seed", across, along])[column]
                .agg(lambda one: one.mean(skipna=False))
                .unstack()
            )
            ends = [means.columns[end] for end in which]
            both = means[ends].dropna().groupby("seed").mean()
            yield f"{sparsity:g} sparse", *(both[end].to_dict() for end in ends)


def _ends_of_recovery(contrast: str) -> tuple[str, str]:
    return ("before", "after") if contrast in LOSSES else ("after", "before")


def _by_rate(groups: DataFrameGroupBy, sides: tuple[str, str]) -> Iterator[tuple[str, BySeed, BySeed]]:
    for (sparsity, rate), rows in groups:
        means = rows.groupby("seed")[[*sides]].mean()
        yield f"{sparsity:g} sparse, rate {rate:g}", *(means[side].to_dict() for side in sides)


def _side(name: str, values: BySeed, words: Callable[[float, float | None], str]) -> Side:
    stat = Stat.of([*values.values()])
    return Side(name, words(stat.mean, stat.std), f"n = {stat.n}")
