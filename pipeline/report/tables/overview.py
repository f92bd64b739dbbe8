"""The front page: each of the paper's claims with a verdict, its numbers, and the settings behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from pipeline.report import paper
from pipeline.report.noise import MIN_SEEDS
from pipeline.report.paper.claims import Claim, Judged, Setting, judge
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results
from pipeline.report.tables.fields import Line, Number, Table
from pipeline.report.words import counted, p_value, setting, short_percent, signed

VERDICTS = {"supported": "in line with it", "contradicted": "against it", "undecided": "undecided"}
"""How a verdict reads that is not about the paper's settings."""
OUTCOMES = {"for": "in favour", "against": "against", "noise": "within the noise", "few": "too few seeds"}
GAINS = {"for": "no gain", "against": "gain", "noise": "no gain", "few": "too few seeds"}


@dataclass(frozen=True)
class Shown:
    """One claim as a reader sees it."""

    id: str
    text: str
    where: str
    verdict: str
    badge: str
    findings: list[str]
    """One sentence or two for the paper's settings, and for others."""
    table: Table
    num_settings: int


@dataclass(frozen=True)
class Overview:
    """All claims; ``untested`` are those without a run on both sides."""

    claims: list[Shown]
    untested: list[Claim]
    summary: str
    elsewhere: list[str]
    """Where the grid leaves the paper's settings, one phrase each."""


def overview(results: Results) -> Overview:
    """Every claim judged by the runs that are there."""
    judged = judge(results)
    tested = [found for found in judged if found.in_paper or found.elsewhere]
    return Overview(
        claims=[_shown(found) for found in tested],
        untested=[found.claim for found in judged if found not in tested],
        summary=_summary(judged),
        elsewhere=_elsewhere(results) if any(found.elsewhere for found in judged) else [],
    )


def _summary(judged: Sequence[Judged]) -> str:
    """How many claims have which verdict."""
    verdicts, total = [found.verdict for found in judged], counted(len(judged), "claim")
    away = sum(found.verdict == "not tested" and bool(found.elsewhere) for found in judged)
    looked_at = f"{away} {'is' if away == 1 else 'are'} looked at in other settings" if away else ""
    if verdicts.count("not tested") == len(verdicts):
        text = f"None of {total} about the CIFAR experiments is tested in the paper's settings"
        return f"{text}; {looked_at}." if away else f"{text}."
    parts = [
        f"{verdicts.count('supported')} supported",
        f"{verdicts.count('contradicted')} contradicted",
        f"{verdicts.count('undecided')} undecided",
        f"{verdicts.count('not tested')} not tested",
    ]
    text = f"Of {total} about the CIFAR experiments, in the paper's settings: {', '.join(parts)}."
    return f"{text[:-1]}, of which {looked_at}." if away else text


def _elsewhere(results: Results) -> list[str]:
    """The places of the grid that are not the paper's."""
    found, grid = [], results.params.grid
    for dataset, model in product(grid.datasets, grid.models):
        printed = paper.columns().get(dataset, [])
        departures = differences(results, dataset) if printed else []
        in_print = bool(printed) and model in paper.models() and not departures
        others = [short_percent(s) for s in grid.sparsities if s not in printed] if in_print else []
        if len(results.of(dataset, model)) and (others or not in_print):
            notes = departures or others
            found.append(setting(dataset, model) + (f" ({', '.join(notes)})" if notes else ""))
    return found


def _shown(found: Judged) -> Shown:
    claim = found.claim
    findings = []
    if found.in_paper:
        findings.append(_finding(claim, found.in_paper, claim.num_settings - len(found.in_paper)))
    if found.elsewhere:
        where = "Other settings. " if found.in_paper else ""
        findings.append(where + _finding(claim, found.elsewhere, 0))
    tested = sum(place.outcome != "few" for place in found.in_paper)
    so_far = " so far" if tested < claim.num_settings and found.verdict != "undecided" else ""
    elsewhere = f"other setting: {VERDICTS[found.verdict_elsewhere]}" if found.elsewhere else ""
    return Shown(
        id=claim.id,
        text=claim.text,
        where=claim.where,
        verdict=found.verdict if found.in_paper else "elsewhere",
        badge=found.verdict + so_far if found.in_paper else elsewhere,
        findings=findings,
        table=_table(claim, found.in_paper, found.elsewhere),
        num_settings=len(found.in_paper) + len(found.elsewhere),
    )


def _finding(claim: Claim, settings: Sequence[Setting], num_missing: int) -> str:
    """The counts and the numbers of one claim."""
    return f"{_counts(claim, settings)} {_numbers(settings)}" + (
        f" {num_missing} of the paper's {claim.num_settings} settings without runs." if num_missing else ""
    )


def _counts(claim: Claim, settings: Sequence[Setting]) -> str:
    """In how many settings there is which outcome, those with too few seeds apart."""
    tested = [found for found in settings if found.outcome != "few"]
    few = [found for found in settings if found.outcome == "few"]
    parts = []
    if tested:
        words = GAINS if claim.claim == "no_gain" else OUTCOMES
        outcomes = [found.outcome for found in tested]
        first, *others = [
            f"{words[kind]} in {outcomes.count(kind)}"
            for kind in ("for", "noise", "against")
            if kind in outcomes
        ]
        parts = [f"{first} of {counted(len(tested), 'setting')}", *others]
        if len(settings) == 1:
            parts = [words[outcomes[0]]]
    if few:
        more = f"{len(few)} more with " if tested else ""
        parts.append(f"{more}fewer than {MIN_SEEDS} seeds, so without a test, pointing {_way(few)}")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _way(settings: Sequence[Setting]) -> str:
    """Where differences point, whatever the noise."""
    lean = sum(found.leans for found in settings)
    if 0 < lean < len(settings):
        return f"the claim's way in {lean} of {len(settings)} settings"
    return "the claim's way" if lean else "the other way"


def _numbers(settings: Sequence[Setting]) -> str:
    differences = [found.difference for found in settings]
    printed = [found.printed for found in settings if found.printed is not None]
    name = _names(settings)
    text = f"{name[0].upper()}{name[1:]}: {signed(fmean(differences))}"
    if len(settings) > 1:
        text += f" on average, {signed(min(differences))} to {signed(max(differences))}"
    elif (p := settings[0].p) is not None:
        text += f", {p_value(p)}"
    if len(printed) == len(settings):
        text += f"; in print {signed(fmean(printed))}"
    return text + "."


def _names(settings: Sequence[Setting]) -> str:
    """What is subtracted from what, where all settings agree on it."""
    names = {(found.better.name, found.than.name) for found in settings}
    return " − ".join(next(iter(names))) if len(names) == 1 else "Difference"


def _table(claim: Claim, in_paper: Sequence[Setting], elsewhere: Sequence[Setting]) -> Table:
    """Every setting: both means, their difference, its p-value, the paper's difference, and what it says."""
    names = list(dict.fromkeys((found.better.name, found.than.name) for found in (*in_paper, *elsewhere)))
    one = len(names) == 1
    lines = []
    for heading, settings in (("The paper's settings", in_paper), ("Other settings", elsewhere)):
        for index, found in enumerate(settings):
            label = found.place if one else f"{found.place}: {found.better.name} against {found.than.name}"
            lines.append(Line(label, "", _fields(claim, found), heading="" if index else heading))
    heads = [*(names[0] if one else ("first", "second")), "difference", "p-value", "in print", "finding"]
    return Table([(head, 1) for head in heads], [], lines)


def _fields(claim: Claim, found: Setting) -> list[Number]:
    words = GAINS if claim.claim == "no_gain" else OUTCOMES
    return [
        found.better.number,
        found.than.number,
        Number(signed(found.difference)),
        Number("" if found.p is None else p_value(found.p).removeprefix("p ").removeprefix("= ")),
        Number("" if found.printed is None else signed(found.printed)),
        Number(words[found.outcome], strong=found.outcome in ("for", "against")),
    ]
