"""The plasticity study as numbers: every point of a figure, and means by the phases of the learning rate."""


# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false
# (pandas' types are wider than the values of a frame whose columns are known)

from typing import TYPE_CHECKING

from pipeline.report.figures.plasticity import rate_colors
from pipeline.report.plasticity import Study
from pipeline.report.tables.fields import Line, Number, Table
from pipeline.report.words import counted, listed, percent, signed, signed_spread

if TYPE_CHECKING:
    from pandas import DataFrame, Series


WAYS = {False: "without", True: "with"}


def points(study: Study, num_seeds: int) -> Table:
    """Every mean that the figure shows, in percentage points, under the accuracy that it is compared with.

    ``num_seeds`` is how many the grid asks for: a network with fewer says so.
    """
    means, epochs, palette = study.means(), study.pruned_at, rate_colors(study.rates)
    lines = []
    for sparsity in study.sparsities:
        own = study.branches[study.branches["pretrained"] == sparsity]
        lines.append(_compared(study, own, _heading(study, sparsity, own, num_seeds)))
        for way in study.ways:
            for rate in study.rates:
                name = f"rate {rate:g}" + (", regenerated" if way else "")
                keys = [(sparsity, way, rate, epoch) for epoch in epochs]
                group = own["group"].iloc[0]
                numbers = [_change(means.loc[key], group) if key in means.index else Number() for key in keys]
                lines.append(Line(name, palette[rate], numbers))
    return Table([("pruned after epoch", len(epochs))], [str(epoch) for epoch in epochs], lines)


def _heading(study: Study, sparsity: float, own: "DataFrame", num_seeds: int) -> str:
    """The pre-trained network, and its seeds where some of several are missing."""
    kind = "filter sparsity" if study.granularity == "filter" else "sparsity"
    there = own["seed"].nunique()
    few = f" (n = {there} of {num_seeds})" if there < num_seeds else ""
    return f"Pre-trained {kind} {sparsity:g}{few}"


def _compared(study: Study, own: "DataFrame", heading: str) -> Line:
    """The accuracy before pruning, epoch by epoch; or that of the unpruned run at its end, which is one."""
    group = own["group"].iloc[0]
    if study.outcome == "final":
        final = own.drop_duplicates("seed")["before"].mean()
        whole = Number(percent(final), group=group, span=len(study.pruned_at))
        return Line("unpruned, final accuracy, %", "", [whole], heading)
    before = own.drop_duplicates(["seed", "epoch"]).groupby("epoch")["before"].mean().to_dict()
    numbers = [
        Number(percent(before[epoch]), group=group) if epoch in before else Number()
        for epoch in study.pruned_at
    ]
    return Line("accuracy before, %", "", numbers, heading)


def _change(point: "Series", group: str) -> Number:
    """One point of the figure; says how many of its branches diverged."""
    size, lost = int(point["size"]), int(point["size"] - point["count"])
    if lost == size:
        return Number("diverged", group=group)
    std = None if point["count"] < 2 else float(point["std"])
    note = f"{lost} of {size} diverged" if lost else ""
    return Number(signed_spread(float(point["mean"]), std), note, group)


def phases(study: Study) -> Table:
    """Mean change over the epochs of pruning at each learning rate, per network and rate; with ± over the seeds.

    The difference (with − without regeneration) is of pairs of branches of which neither diverged.
    """
    frame, palette = _by_phase(study), rate_colors(study.rates)
    columns = [WAYS[way] for way in study.ways] + (["difference"] if len(study.ways) == 2 else [])
    lines = []
    for sparsity in study.sparsities:
        heading = f"Pre-trained {'filter ' if study.granularity == 'filter' else ''}sparsity {sparsity:g}"
        for rate in study.rates:
            own = frame[(frame["pretrained"] == sparsity) & (frame["rate"] == rate)]
            name = own["group"].iloc[0] if len(own) else None
            numbers = []
            for phase in _heads(study):
                here = own[own["phase"] == phase]
                numbers += [_mean(here, column, name) for column in columns]
            lines.append(Line(f"rate {rate:g}", palette[rate], numbers, heading))
            heading = ""
    return Table(
        [(text, len(columns)) for text in _heads(study).values()], columns * len(_heads(study)), lines
    )


def _heads(study: Study) -> dict[int, str]:
    """The phases in which networks were pruned: their epochs and learning rates."""
    found = {}
    for phase in sorted({study.phase(epoch) for epoch in study.pruned_at}):
        epochs = [epoch for epoch in study.pruned_at if study.phase(epoch) == phase]
        rates = study.branches.loc[study.branches["epoch"].isin(epochs), "lr"]
        lr = listed(list(dict.fromkeys(f"{rate:g}" for rate in rates)))
        first, last = epochs[0], epochs[-1]
        span = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        found[phase] = f"{span}, learning rate {lr}"
    return found


def _by_phase(study: Study) -> "DataFrame":
    """A row per network, rate, epoch and seed, with its phase; columns without, with, difference, in fractions."""
    keys = ["group", "pretrained", "rate", "epoch", "seed"]
    wide = study.branches.pivot(index=keys, columns="regenerated", values="change").rename(columns=WAYS)
    if len(study.ways) == 2:
        wide["difference"] = wide["with"] - wide["without"]
    frame = wide.reset_index()
    return frame.assign(phase=frame["epoch"].map(study.phase))


def _mean(rows: "DataFrame", column: str, group: str | None) -> Number:
    """Mean over epochs, then mean ± std over the seeds."""
    if rows.empty:
        return Number()
    seeds = rows.groupby("seed")[column].mean().dropna()
    lost = int(rows[column].isna().sum())
    if seeds.empty:
        return Number("diverged" if column != "difference" else "", group=group)
    note = f"{lost} of {len(rows)} diverged" if lost and column != "difference" else ""
    std = float(seeds.std()) if len(seeds) > 1 else None
    return Number(signed_spread(float(seeds.mean()), std), note, group)


def findings(study: Study) -> list[str]:
    """What the paper reads from its figures, as numbers of these runs: learning rate first, then regeneration."""
    frame, heads = _by_phase(study), _heads(study)
    found = []
    for way in study.ways:
        changes = {phase: frame.loc[frame["phase"] == phase, WAYS[way]] for phase in heads}
        parts = [
            f"{signed(own.mean())}, recovered in {int((own >= 0).sum())} of {len(own)} ({heads[phase]})"
            for phase, own in changes.items()
            if own.notna().any()
        ]
        if parts:
            found.append(f"{WAYS[way].capitalize()} regeneration: {'; '.join(parts)}.")
    if len(study.ways) == 2 and (differences := frame["difference"].dropna()).size:
        better = int((differences > 0).sum())
        pairs = f"{better} of {counted(len(differences), 'pair')} of branches"
        found.append(f"Regeneration changes that by {signed(differences.mean())}; it is better in {pairs}.")
    if study.num_diverged:
        found.append("Diverged branches are in no mean, and did not recover.")
    return found
