"""The front page: each of the paper's claims with a verdict, its numbers, and the settings behind it."""

from collections.abc import Sequence
from itertools import product
from statistics import fmean
from typing import NamedTuple

from pipeline.report.blocks import Fold, Judgement, Line, Number, Table, Text, by_heading
from pipeline.report.noise import MARGIN, MIN_SEEDS, Difference, exceeds
from pipeline.report.paper.claims import Claim, conclusion, in_print, outcome
from pipeline.report.paper.judge import Judged, Setting, judge
from pipeline.report.paper.numbers import ACCURACY, columns, family_of, models
from pipeline.report.paper.protocol import differences
from pipeline.report.results import Results
from pipeline.report.tables.contrasts import of_study
from pipeline.report.words import counted, listed, p_value, setting, short_percent, signed, signed_ratio

VERDICTS = {"supported": "in line with it", "contradicted": "against it", "undecided": "undecided"}
"""How a verdict reads that is not about the paper's settings."""
OUTCOMES = {"for": "in favour", "noise": "within the noise", "against": "against", "few": "no test"}
GAINS = OUTCOMES | {"for": "no gain", "noise": "no gain shown, none ruled out", "against": "gain"}
LOSSES = OUTCOMES | {"for": "no loss", "noise": "no loss shown, none ruled out", "against": "loss"}
COSTS = OUTCOMES | {"noise": "no difference known"}
FEW_SETTINGS = 3
"""The differences of no more than these stand one by one."""


class Overview(NamedTuple):
    """All claims; ``untested`` are those without a run on both sides."""

    claims: list[Judgement]
    untested: list[Claim]
    summary: str
    elsewhere: list[str]
    """Where the grid leaves the paper's settings, one phrase each."""


def overview(results: Results, study: Results | None = None) -> Overview:
    """Every claim judged by the runs that are there; of pruning plasticity by ``study``'s, where it is given."""
    judged = [of_study(one.claim, study or results) if one.claim.study else one for one in judge(results)]
    return Overview(
        claims=[_verdict(one) for one in judged if one.in_paper or one.elsewhere],
        untested=[one.claim for one in judged if not (one.in_paper or one.elsewhere)],
        summary=_summary([one for one in judged if not one.claim.part_of]),
        elsewhere=_elsewhere(results) if any(one.elsewhere for one in judged) else [],
    )


def _summary(judged: Sequence[Judged]) -> str:
    verdicts, total = [one.verdict for one in judged], counted(len(judged), "claim")
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
        family = family_of(dataset)
        sparsities = columns(family).get(dataset, [])
        notes = differences(results, dataset) if sparsities else []
        if in_print := bool(sparsities) and model in models(family) and not notes:
            notes = [short_percent(s) for s in grid.sparsities if s not in sparsities]
        if len(results.of(dataset, model)) and (notes or not in_print):
            phrases.append(setting(dataset, model) + (f" ({', '.join(notes)})" if notes else ""))
    return phrases


def _verdict(judged: Judged) -> Judgement:
    """One claim as a reader sees it: a sentence or two for the paper's settings, and for others; then all settings."""
    claim, in_paper, elsewhere = judged.claim, judged.in_paper, judged.elsewhere
    findings, kind, places = [], "elsewhere", [*claim.places()]
    badge = f"other setting: {VERDICTS.get(judged.verdict_elsewhere)}{_by_a_loss(elsewhere)}"
    if in_paper:
        missing = len(places) - len(in_paper)
        absent = f" {missing} of the paper's {len(places)} settings without runs." if missing > 0 else ""
        findings.append(_finding(in_paper) + absent)
        tested = sum(place.outcome != "few" for place in in_paper)
        so_far = " so far" if tested < len(places) and judged.verdict != "undecided" else ""
        badge, kind = judged.verdict + so_far + _by_a_loss(in_paper), judged.verdict
    if elsewhere:
        findings.append(("Other settings. " if in_paper else "") + _finding(elsewhere))
    if absent := judged.absent:
        findings[-1] += f" Without runs: {listed(absent)}."
    if judged.unpruned:
        findings.append(f"Without runs: {judged.unpruned}.")
    if own := [difference for place in places if (difference := in_print(claim, place))]:
        counts = _counts(claim, [outcome(claim, one) for one in own])
        findings.append(f"The paper's own numbers, by the same rule: {conclusion(claim, own)} ({counts}).")
    num_settings = len(in_paper) + len(elsewhere)
    heading = "The setting" if num_settings == 1 else f"The {num_settings} settings"
    blocks = [*(Text(finding, "note") for finding in findings), Fold(heading, [_table(judged)])]
    return Judgement(claim.id, claim.text, claim.place, kind, badge, blocks)


def _finding(settings: Sequence[Setting]) -> str:
    """In how many settings there is which outcome; those with too few seeds apart, and where the noise points."""
    outcomes = [place.outcome for place in settings if place.outcome != "few"]
    few = [place for place in settings if place.outcome == "few"]
    ways = [place.leans for place in few if place.difference.mean]
    noise = [place.leans for place in settings if place.outcome == "noise" and place.difference.mean]
    parts = [_counts(settings[0].claim, outcomes)] if outcomes else []
    if losses := sum(place.is_loss for place in settings):
        parts.append(f"a loss in {losses} of {len(outcomes)}")
    if len(settings) > 1 and not all(noise):
        points = "noise points" if settings[0].claim.metric == ACCURACY else "the numbers point"
        parts.append(f"{points} the other way in {noise.count(False)} of {len(noise)}")
    if few:
        more = f"{len(few)} more with " if outcomes else ""
        way = ", pointing the claim's way" if any(ways) else ", pointing the other way" if ways else ""
        if any(ways) and sum(ways) < len(few):
            way += f" in {sum(ways)} of {len(few)} settings"
        reasons = {place.difference.untested for place in few}
        why = f"fewer than {MIN_SEEDS} seeds" if "too few seeds" in reasons else "no spread among seeds"
        parts.append(f"{more}{why}, so without a test{way}")
    sentences = ("; ".join(parts), _numbers(settings))
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences)


def _counts(claim: Claim, outcomes: Sequence[str]) -> str:
    words = _words(claim)
    parts = [f"{words[kind]} in {outcomes.count(kind)}" for kind in words if kind in outcomes]
    if len(outcomes) == 1:
        return words[outcomes[0]]
    return "; ".join([f"{parts[0]} of {len(outcomes)} settings", *parts[1:]])


def _numbers(settings: Sequence[Setting]) -> str:
    values, sides = [place.difference.mean for place in settings], _sides(settings)
    printed = [place.printed.mean for place in settings if place.printed is not None]
    claim = settings[0].claim
    text = f"{' − '.join(sides[0]) if len(sides) == 1 else 'difference'}: {_amount(claim, fmean(values))}"
    if len(settings) == 1 and claim.metric != ACCURACY:
        text = ", ".join(f"{side.name} {side.text}" for side in settings[0].sides)
    elif len(settings) > FEW_SETTINGS:
        text += f" on average; settings from {_amount(claim, min(values))} to {_amount(claim, max(values))}"
    elif len(settings) > 1:
        each = [f"{_amount(claim, one.difference.mean)}{_p_of(one)}" for one in settings]
        text += f" on average ({'; '.join(each)})"
    else:
        text += _p_of(settings[0])
    if len(printed) == len(settings):
        text += f"; in print {_amount(claim, fmean(printed))}"
    return text


def _p_of(place: Setting) -> str:
    """The p-value that decides: where a gain or a loss is denied, that of one of `MARGIN` or more."""
    if (p := place.p(place.difference)) is None:
        return ""
    denied = "loss" if place.claim.claim == "no_loss" else "gain"
    of = f" for a {denied} of {100 * MARGIN:g}" if p != place.difference.p else ""
    return f", {p_value(p)}{of}"


def _by_a_loss(settings: Sequence[Setting]) -> str:
    """Added to a verdict of no gain that is due to losses: in half of the tested settings or more."""
    tested = sum(place.outcome != "few" for place in settings)
    return ", by a loss" if 0 < tested <= 2 * sum(place.is_loss for place in settings) else ""


def _amount(claim: Claim, value: float) -> str:
    """A difference in percentage points, or of FLOPs as a ratio to the dense network's."""
    return signed(value) if claim.metric == ACCURACY else signed_ratio(value)


def _words(claim: Claim) -> dict[str, str]:
    kinds = {"above": OUTCOMES, "no_gain": GAINS, "no_loss": LOSSES}
    return COSTS if claim.metric != ACCURACY else kinds[claim.claim]


def _sides(settings: Sequence[Setting]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((place.sides[0].name, place.sides[1].name) for place in settings))


def _difference(place: Setting, difference: Difference | None) -> Number:
    if difference is None:
        return Number()
    p = place.p(difference)
    return Number(_amount(place.claim, difference.mean), "" if p is None else p_value(p), strong=exceeds(p))


def _table(judged: Judged) -> Table:
    """Every setting: both sides, their difference with its p-value, the paper's with its own, and what ours says."""
    claim, names = judged.claim, _sides([*judged.in_paper, *judged.elsewhere])
    lines = []
    for place in (*judged.in_paper, *judged.elsewhere):
        numbers = [
            *(Number(side.text, side.note, side.group) for side in place.sides),
            *(_difference(place, one) for one in (place.difference, place.printed)),
            Number(_words(claim)[place.outcome], strong=place.outcome in ("for", "against")),
        ]
        sides = "" if len(names) == 1 else f": {' against '.join(side.name for side in place.sides)}"
        heading = "The paper's settings" if place.in_paper else "Other settings"
        lines.append(Line(place.place + sides, "", numbers, heading))
    first, second = names[0] if len(names) == 1 else ("first", "second")
    times = "" if claim.times == 1 else f", of which × {claim.times:g}"
    heads = (first, second + times, "difference", "in print", "finding")
    return Table([(head, 1) for head in heads], [], by_heading(lines), "setting")
