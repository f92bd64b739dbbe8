"""The front page: each of the paper's claims with a verdict, its numbers, and the settings behind it."""

from collections.abc import Sequence
from itertools import product
from statistics import fmean
from typing import NamedTuple

from pipeline.report.blocks import Fold, Judgement, Line, Number, Table, Text, by_heading
from pipeline.report.paper.claims import Claim, Judged, Setting, judge
from pipeline.report.paper.numbers import columns, models
from pipeline.report.paper.protocol import differences
from pipeline.report.results import MIN_SEEDS, Results
from pipeline.report.words import counted, p_value, setting, short_percent, signed, spread

VERDICTS = {"supported": "in line with it", "contradicted": "against it", "undecided": "undecided"}
"""How a verdict reads that is not about the paper's settings."""
OUTCOMES = {"for": "in favour", "noise": "within the noise", "against": "against", "few": "too few seeds"}
GAINS = OUTCOMES | {"for": "no gain", "noise": "no gain", "against": "gain"}


class Overview(NamedTuple):
    """All claims; ``untested`` are those without a run on both sides."""

    claims: list[Judgement]
    untested: list[Claim]
    summary: str
    elsewhere: list[str]
    """Where the grid leaves the paper's settings, one phrase each."""


def overview(results: Results) -> Overview:
    """Every claim judged by the runs that are there."""
    judged = judge(results)
    return Overview(
        claims=[_verdict(one) for one in judged if one.in_paper or one.elsewhere],
        untested=[one.claim for one in judged if not (one.in_paper or one.elsewhere)],
        summary=_summary(judged),
        elsewhere=_elsewhere(results) if any(one.elsewhere for one in judged) else [],
    )


def _summary(judged: Sequence[Judged]) -> str:
    verdicts, total = (
        [one.verdict for one in judged],
        f"{counted(len(judged), 'claim')} about the CIFAR experiments",
    )
    away = sum(one.verdict == "not tested" and bool(one.elsewhere) for one in judged)
    looked_at = f"{away} {'is' if away == 1 else 'are'} looked at in other settings" if away else ""
    if set(verdicts) == {"not tested"}:
        text = f"None of {total} is tested in the paper's settings"
        return f"{text}; {looked_at}." if away else f"{text}."
    numbers = [f"{verdicts.count(verdict)} {verdict}" for verdict in (*VERDICTS, "not tested")]
    text = f"Of {total}, in the paper's settings: {', '.join(numbers)}"
    return f"{text}, of which {looked_at}." if away else f"{text}."


def _elsewhere(results: Results) -> list[str]:
    phrases, grid = [], results.params.grid
    for dataset, model in product(grid.datasets, grid.models):
        sparsities = columns().get(dataset, [])
        notes = differences(results, dataset) if sparsities else []
        if in_print := bool(sparsities) and model in models() and not notes:
            notes = [short_percent(s) for s in grid.sparsities if s not in sparsities]
        if len(results.of(dataset, model)) and (notes or not in_print):
            phrases.append(setting(dataset, model) + (f" ({', '.join(notes)})" if notes else ""))
    return phrases


def _verdict(judged: Judged) -> Judgement:
    """One claim as a reader sees it: a sentence or two for the paper's settings, and for others; then all settings."""
    claim, in_paper, elsewhere = judged.claim, judged.in_paper, judged.elsewhere
    findings, kind = [], "elsewhere"
    badge = f"other setting: {VERDICTS.get(judged.verdict_elsewhere)}"
    if in_paper:
        missing = claim.num_settings - len(in_paper)
        absent = f" {missing} of the paper's {claim.num_settings} settings without runs." if missing else ""
        findings.append(_finding(claim, in_paper) + absent)
        tested = sum(place.outcome != "few" for place in in_paper)
        so_far = " so far" if tested < claim.num_settings and judged.verdict != "undecided" else ""
        badge, kind = judged.verdict + so_far, judged.verdict
    if elsewhere:
        findings.append(("Other settings. " if in_paper else "") + _finding(claim, elsewhere))
    num_settings = len(in_paper) + len(elsewhere)
    title = "The setting" if num_settings == 1 else f"The {num_settings} settings"
    blocks = [*(Text(finding, "note") for finding in findings), Fold(title, [_table(judged)])]
    return Judgement(claim.id, claim.text, claim.where, kind, badge, blocks)


def _finding(claim: Claim, settings: Sequence[Setting]) -> str:
    sentences = (_counts(claim, settings), _numbers(settings))
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences)


def _counts(claim: Claim, settings: Sequence[Setting]) -> str:
    """In how many settings there is which outcome; those with too few seeds apart, and where they point."""
    words, outcomes = _words(claim), [place.outcome for place in settings if place.outcome != "few"]
    few = [place.leans for place in settings if place.outcome == "few"]
    parts = [f"{words[kind]} in {outcomes.count(kind)}" for kind in words if kind in outcomes]
    if parts:
        parts[0] += f" of {counted(len(outcomes), 'setting')}"
        if len(settings) == 1:
            parts = [words[outcomes[0]]]
    if few:
        more = f"{len(few)} more with " if outcomes else ""
        way = "the claim's way" if any(few) else "the other way"
        if any(few) and not all(few):
            way += f" in {sum(few)} of {len(few)} settings"
        parts.append(f"{more}fewer than {MIN_SEEDS} seeds, so without a test, pointing {way}")
    return "; ".join(parts)


def _numbers(settings: Sequence[Setting]) -> str:
    differences, sides = [place.difference for place in settings], _sides(settings)
    printed = [place.printed for place in settings if place.printed is not None]
    text = f"{' − '.join(sides[0]) if len(sides) == 1 else 'difference'}: {signed(fmean(differences))}"
    if len(settings) > 1:
        text += f" on average, {signed(min(differences))} to {signed(max(differences))}"
    elif (p := settings[0].p) is not None:
        text += f", {p_value(p)}"
    if len(printed) == len(settings):
        text += f"; in print {signed(fmean(printed))}"
    return text


def _words(claim: Claim) -> dict[str, str]:
    return GAINS if claim.claim == "no_gain" else OUTCOMES


def _sides(settings: Sequence[Setting]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((place.better.name, place.than.name) for place in settings))


def _table(judged: Judged) -> Table:
    """Every setting: both means, their difference, its p-value, the paper's difference, and what it says."""
    names, words = _sides([*judged.in_paper, *judged.elsewhere]), _words(judged.claim)
    lines = []
    for place in (*judged.in_paper, *judged.elsewhere):
        means = [
            Number(spread(side.stat.mean, side.stat.std), f"n = {side.stat.n}", side.group)
            for side in (place.better, place.than)
        ]
        numbers = [
            *means,
            Number(signed(place.difference)),
            Number("" if place.p is None else p_value(place.p).removeprefix("p ").removeprefix("= ")),
            Number("" if place.printed is None else signed(place.printed)),
            Number(words[place.outcome], strong=place.outcome in ("for", "against")),
        ]
        sides = "" if len(names) == 1 else f": {place.better.name} against {place.than.name}"
        heading = "The paper's settings" if place.in_paper else "Other settings"
        lines.append(Line(place.place + sides, "", numbers, heading))
    first, second = names[0] if len(names) == 1 else ("first", "second")
    heads = (first, second, "difference", "p-value", "in print", "finding")
    return Table([(head, 1) for head in heads], [], by_heading(lines), "setting")
