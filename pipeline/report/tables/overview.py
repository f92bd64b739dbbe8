"""The front page: each of the paper's claims with a verdict, its numbers, and the settings behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from statistics import fmean

from pipeline.report.blocks import Fold, Judgement, Line, Number, Table, Text, under
from pipeline.report.paper.claims import Claim, Judged, Setting, Side, judge
from pipeline.report.paper.numbers import columns, models
from pipeline.report.paper.protocol import differences
from pipeline.report.results import MIN_SEEDS, Results
from pipeline.report.words import counted, p_value, setting, short_percent, signed, spread

VERDICTS = {"supported": "in line with it", "contradicted": "against it", "undecided": "undecided"}
"""How a verdict reads that is not about the paper's settings."""
OUTCOMES = {"for": "in favour", "against": "against", "noise": "within the noise", "few": "too few seeds"}
GAINS = {"for": "no gain", "against": "gain", "noise": "no gain", "few": "too few seeds"}


@dataclass(frozen=True)
class Overview:
    """All claims; ``untested`` are those without a run on both sides."""

    claims: list[Judgement]
    untested: list[Claim]
    summary: str
    elsewhere: list[str]
    """Where the grid leaves the paper's settings, one phrase each."""


def overview(results: Results) -> Overview:
    """Every claim judged by the runs that are there."""
    judged = judge(results)
    tested = [one for one in judged if one.in_paper or one.elsewhere]
    return Overview(
        claims=[_verdict(one) for one in tested],
        untested=[one.claim for one in judged if one not in tested],
        summary=_summary(judged),
        elsewhere=_elsewhere(results) if any(one.elsewhere for one in judged) else [],
    )


def _summary(judged: Sequence[Judged]) -> str:
    """How many claims have which verdict."""
    verdicts, total = [one.verdict for one in judged], counted(len(judged), "claim")
    away = sum(one.verdict == "not tested" and bool(one.elsewhere) for one in judged)
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
    phrases, grid = [], results.params.grid
    for dataset, model in product(grid.datasets, grid.models):
        sparsities = columns().get(dataset, [])
        departures = differences(results, dataset) if sparsities else []
        in_print = bool(sparsities) and model in models() and not departures
        others = [short_percent(s) for s in grid.sparsities if s not in sparsities] if in_print else []
        if len(results.of(dataset, model)) and (others or not in_print):
            notes = departures or others
            phrases.append(setting(dataset, model) + (f" ({', '.join(notes)})" if notes else ""))
    return phrases


def _verdict(judged: Judged) -> Judgement:
    """One claim as a reader sees it: a sentence or two for the paper's settings, and for others; then all settings."""
    claim, findings = judged.claim, []
    if judged.in_paper:
        findings.append(_finding(claim, judged.in_paper, claim.num_settings - len(judged.in_paper)))
    if judged.elsewhere:
        where = "Other settings. " if judged.in_paper else ""
        findings.append(where + _finding(claim, judged.elsewhere, 0))
    tested = sum(place.outcome != "few" for place in judged.in_paper)
    so_far = " so far" if tested < claim.num_settings and judged.verdict != "undecided" else ""
    elsewhere = f"other setting: {VERDICTS[judged.verdict_elsewhere]}" if judged.elsewhere else ""
    num_settings = len(judged.in_paper) + len(judged.elsewhere)
    table = _table(claim, judged.in_paper, judged.elsewhere)
    return Judgement(
        id=claim.id,
        text=claim.text,
        where=claim.where,
        kind=judged.verdict if judged.in_paper else "elsewhere",
        badge=judged.verdict + so_far if judged.in_paper else elsewhere,
        blocks=[
            *(Text(finding, "note") for finding in findings),
            Fold("The setting" if num_settings == 1 else f"The {num_settings} settings", [table]),
        ],
    )


def _finding(claim: Claim, settings: Sequence[Setting], num_missing: int) -> str:
    """The counts and the numbers of one claim."""
    return f"{_counts(claim, settings)} {_numbers(settings)}" + (
        f" {num_missing} of the paper's {claim.num_settings} settings without runs." if num_missing else ""
    )


def _counts(claim: Claim, settings: Sequence[Setting]) -> str:
    """In how many settings there is which outcome, those with too few seeds apart."""
    tested = [place for place in settings if place.outcome != "few"]
    few = [place for place in settings if place.outcome == "few"]
    parts = []
    if tested:
        words = GAINS if claim.claim == "no_gain" else OUTCOMES
        outcomes = [place.outcome for place in tested]
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
    lean = sum(place.leans for place in settings)
    if 0 < lean < len(settings):
        return f"the claim's way in {lean} of {len(settings)} settings"
    return "the claim's way" if lean else "the other way"


def _numbers(settings: Sequence[Setting]) -> str:
    differences = [place.difference for place in settings]
    printed = [place.printed for place in settings if place.printed is not None]
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
    names = {(place.better.name, place.than.name) for place in settings}
    return " − ".join(next(iter(names))) if len(names) == 1 else "Difference"


def _table(claim: Claim, in_paper: Sequence[Setting], elsewhere: Sequence[Setting]) -> Table:
    """Every setting: both means, their difference, its p-value, the paper's difference, and what it says."""
    names = list(dict.fromkeys((place.better.name, place.than.name) for place in (*in_paper, *elsewhere)))
    one = len(names) == 1
    lines = []
    for heading, settings in (("The paper's settings", in_paper), ("Other settings", elsewhere)):
        block = []
        for place in settings:
            sides = "" if one else f": {place.better.name} against {place.than.name}"
            block.append(Line(place.place + sides, "", _fields(claim, place)))
        lines += under(heading, block)
    heads = [*(names[0] if one else ("first", "second")), "difference", "p-value", "in print", "finding"]
    return Table([(head, 1) for head in heads], [], lines, "setting")


def _mean(side: Side) -> Number:
    return Number(spread(side.stat.mean, side.stat.std), f"n = {side.stat.n}", side.group)


def _fields(claim: Claim, place: Setting) -> list[Number]:
    words = GAINS if claim.claim == "no_gain" else OUTCOMES
    return [
        _mean(place.better),
        _mean(place.than),
        Number(signed(place.difference)),
        Number("" if place.p is None else p_value(place.p).removeprefix("p ").removeprefix("= ")),
        Number("" if place.printed is None else signed(place.printed)),
        Number(words[place.outcome], strong=place.outcome in ("for", "against")),
    ]
