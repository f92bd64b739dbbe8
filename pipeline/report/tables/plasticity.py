"""The plasticity study as numbers: every point of a figure, and means by the phases of the learning rate."""


# pyright: reportAttributeAccessIssue=false, reportReturnType=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false
# (pandas' types are wider than the values of a frame whose columns are known)

from typing import TYPE_CHECKING

from pipeline.report.blocks import Line, Number, Table, under
from pipeline.report.plasticity import Study, rate_colors
from pipeline.report.words import counted, listed, percent, signed, signed_spread

if TYPE_CHECKING:
    from pandas import DataFrame, Series


WAYS = {False: "without", True: "with"}


def points(study: Study, num_seeds: int) -> Table:
    """Every mean that the figure shows, in percentage points, under the accuracy that it is compared with.

    ``num_seeds`` is how many the grid has: a network with fewer says so.
    """
    means, epochs, palette = study.means(), study.pruned_at, rate_colors(study.rates)
    lines = []
    for sparsity in study.sparsities:
        rows = study.branches[study.branches["pretrained"] == sparsity]
        lines.append(_compared(study, rows, _heading(study, sparsity, rows, num_seeds)))
        for way in study.ways:
            for rate in study.rates:
                name = f"rate {rate:g}" + (", regenerated" if way else "")
                keys = [(sparsity, way, rate, epoch) for epoch in epochs]
                group = rows["group"].iloc[0]
                numbers = [_change(means.loc[key], group) if key in means.index else Number() for key in keys]
                lines.append(Line(name, palette[rate], numbers))
    return Table(
        [("pruned after epoch", len(epochs))], [str(epoch) for epoch in epochs], lines, "pruning rate"
    )


def _heading(study: Study, sparsity: float, rows: "DataFrame", num_seeds: int) -> str:
    """The pre-trained network, and its seeds where some of several are missing."""
    there = rows["seed"].nunique()
    few = f" (n = {there} of {num_seeds})" if there < num_seeds else ""
    return f"{_network(study, sparsity)}{few}"


def _network(study: Study, sparsity: float) -> str:
    return f"Pre-trained {'filter ' if study.granularity == 'filter' else ''}sparsity {sparsity:g}"


def _compared(study: Study, rows: "DataFrame", heading: str) -> Line:
    """The accuracy before pruning, epoch by epoch; or that of the unpruned run at its end, which is one."""
    group = rows["group"].iloc[0]
    if study.outcome == "final":
        final = rows.drop_duplicates("seed")["before"].mean()
        whole = Number(percent(final), group=group, span=len(study.pruned_at))
        return Line("unpruned, final accuracy, %", "", [whole], heading)
    before = rows.drop_duplicates(["seed", "epoch"]).groupby("epoch")["before"].mean().to_dict()
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
    frame, palette, heads = _by_phase(study), rate_colors(study.rates), _heads(study)
    columns = [WAYS[way] for way in study.ways] + (["difference"] if len(study.ways) == 2 else [])
    lines = []
    for sparsity in study.sparsities:
        block = []
        for rate in study.rates:
            rows = frame[(frame["pretrained"] == sparsity) & (frame["rate"] == rate)]
            name = rows["group"].iloc[0] if len(rows) else None
            numbers = [
                _mean(rows[rows["phase"] == phase], column, name) for phase in heads for column in columns
            ]
            block.append(Line(f"rate {rate:g}", palette[rate], numbers))
        lines += under(_network(study, sparsity), block)
    return Table(
        [(text, len(columns)) for text in heads.values()], columns * len(heads), lines, "pruning rate"
    )


def _heads(study: Study) -> dict[int, str]:
    """The phases in which networks were pruned: their epochs and learning rates."""
    heads = {}
    for phase in sorted({study.phase(epoch) for epoch in study.pruned_at}):
        epochs = [epoch for epoch in study.pruned_at if study.phase(epoch) == phase]
        rates = study.branches.loc[study.branches["epoch"].isin(epochs), "lr"]
        lr = listed(list(dict.fromkeys(f"{rate:g}" for rate in rates)))
        first, last = epochs[0], epochs[-1]
        span = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        heads[phase] = f"{span}, learning rate {lr}"
    return heads


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
    sentences = []
    for way in study.ways:
        changes = {phase: frame.loc[frame["phase"] == phase, WAYS[way]] for phase in heads}
        parts = [
            f"{signed(rows.mean())}, recovered in {int((rows >= 0).sum())} of {len(rows)} ({heads[phase]})"
            for phase, rows in changes.items()
            if rows.notna().any()
        ]
        if parts:
            sentences.append(f"{WAYS[way].capitalize()} regeneration: {'; '.join(parts)}.")
    if len(study.ways) == 2 and (differences := frame["difference"].dropna()).size:
        better = int((differences > 0).sum())
        pairs = f"{better} of {counted(len(differences), 'pair')} of branches"
        sentences.append(
            f"Regeneration changes that by {signed(differences.mean())}; it is better in {pairs}."
        )
    if study.num_diverged:
        sentences.append("Diverged branches are in no mean, and did not recover.")
    return sentences
