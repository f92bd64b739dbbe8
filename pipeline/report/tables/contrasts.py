"""What the plasticity study says of the paper's claims: changes in accuracy by learning rate and by regeneration.

A place is a network of one figure, and a pruning rate where regeneration is compared. Changes are means over the epochs
of pruning, seed by seed. A pair of branches of which one diverged is left out; so is a pruning rate (where two rates
are compared, an epoch) of a seed with a diverged branch at either end.
"""

# pyright: reportAttributeAccessIssue=false, reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false, reportReturnType=false, reportIndexIssue=false
# (pandas' types are wider than the values of a frame whose columns are known)

from collections.abc import Iterator

from pipeline.report.noise import Stat, compared
from pipeline.report.paper.claims import Claim
from pipeline.report.paper.judge import Judged, Setting, Side
from pipeline.report.results import Results
from pipeline.report.tables.plasticity import WAYS, Study, by_phase, departures, studies
from pipeline.report.words import setting, signed_spread

BySeed = dict[int, float]
NAMES = {
    "regenerated": ("regenerated", "not regenerated"),
    "phase": ("first learning rate", "last"),
    "late": ("learning rate before the last", "last"),
    "phase_regenerated": ("first learning rate", "last"),
    "rate": ("smallest pruning rate", "largest"),
    "gain": ("gain at the largest pruning rate", "at the smallest"),
}
"""What the sides of a contrast are called."""
ENDS = {
    "phase": ("phase", WAYS[False], 1),
    "late": ("phase", WAYS[False], 1),
    "phase_regenerated": ("phase", WAYS[True], 1),
    "rate": ("rate", WAYS[False], 1),
    "gain": ("rate", "difference", -1),
}
"""Contrasts of two ends: along what, which change, and whether the first end is the first side (1) or not (-1)."""


def of_study(claim: Claim, results: Results) -> Judged:
    """A claim about the study in the light of its branches."""
    outcome, contrast = claim.study or ("", "")
    settings = []
    for study in studies(results):
        in_paper = study.in_paper and not departures(results, study)
        for place, *changes in _changes(study, contrast) if study.outcome == outcome else ():
            if all(changes):
                sides = [_side(name, one) for name, one in zip(NAMES[contrast], changes, strict=True)]
                title = f"{setting(study.dataset, study.model)}, as Figure {study.figure}, {place}"
                settings.append(
                    Setting(claim, title, (sides[0], sides[1]), compared(*changes), None, in_paper)
                )
    return Judged(claim, *([one for one in settings if one.in_paper is where] for where in (True, False)))


def _changes(study: Study, contrast: str) -> Iterator[tuple[str, BySeed, BySeed]]:
    """The place, and the mean changes of both sides by seed."""
    frame = by_phase(study)
    if contrast == "regenerated" and "difference" in frame:
        for (sparsity, rate), rows in frame.dropna(subset="difference").groupby(["pretrained", "rate"]):
            means = rows.groupby("seed")[[WAYS[True], WAYS[False]]].mean()
            yield f"{sparsity:g} sparse, rate {rate:g}", *(means[way].to_dict() for way in means)
    if contrast in ENDS:
        along, column, order = ENDS[contrast]
        is_late = contrast == "late"  # of two drops or more
        if column not in frame or frame[along].nunique() < 2 + is_late:
            return
        for sparsity, rows in frame.groupby("pretrained"):
            across = "epoch" if along == "rate" else "rate"
            means = (
                rows.groupby(["seed", across, along])[column]
                .agg(lambda one: one.mean(skipna=False))
                .unstack()
            )
            ends = [means.columns[-2 if is_late else 0], means.columns[-1]][::order]
            both = means[ends].dropna().groupby("seed").mean()
            yield f"{sparsity:g} sparse", *(both[end].to_dict() for end in ends)


def _side(name: str, changes: BySeed) -> Side:
    stat = Stat.of([*changes.values()])
    return Side(name, signed_spread(stat.mean, stat.std), f"n = {stat.n}")
