"""Which of the paper's tables a grid shows, and what of it stands in none of them."""

from pipeline.params.schema import Params
from pipeline.report.names import by_family
from pipeline.report.paper.numbers import CIFAR, IMAGENET, Layout, layouts

FURTHER = Layout("further", CIFAR, "Methods and settings outside the paper's tables", {}, {})


def shown(params: Params) -> list[Layout]:
    """The printed tables with rows in the grid, of ImageNet first, and at last `FURTHER` where it has any."""
    return [*of_imagenet(params), *of_cifar(params), *([FURTHER] if further(params) else [])]


def _rows_of_grid(family: str, params: Params) -> dict[str, set[str]]:
    """Table -> its rows that the grid has."""
    return {layout.id: {row.id for row in layout.rows if row.find(params)} for layout in layouts(family)}


def of_cifar(params: Params) -> list[Layout]:
    """Those on CIFAR with rows in the grid, but for one whose rows in the grid all stand in another one."""
    if set(params.grid.datasets) == {IMAGENET}:
        return []
    rows, found = _rows_of_grid(CIFAR, params), []
    for layout in layouts(CIFAR):
        own = rows[layout.id]
        if (
            own
            and not any(own < other for other in rows.values())
            and own not in [rows[one.id] for one in found]
        ):
            found.append(layout)
    return found


def of_imagenet(params: Params) -> list[Layout]:
    """Those on ImageNet with all rows in the grid.

    Not so a table whose rows all stand in another one that is shown, at all sparsities of the grid. Where some table
    has more rows of the grid than those, though not all of its rows: that one alone; of several the one with more of
    the grid's sparsities, then the shortest.
    """
    if IMAGENET not in params.grid.datasets:
        return []
    sparsities, rows = set(params.grid.sparsities), _rows_of_grid(IMAGENET, params)
    complete = [layout for layout in layouts(IMAGENET) if rows[layout.id] == set(layout.row_ids)]

    def worth(layout: Layout) -> tuple[int, int, int]:
        num_shared = len(sparsities.intersection(layout.columns[IMAGENET]))
        return len(rows[layout.id]), num_shared, -len(layout.row_ids)

    most = max(layouts(IMAGENET), key=worth)
    if len(rows[most.id]) > len(set().union(*(rows[layout.id] for layout in complete))):
        return [most]
    wide = [rows[layout.id] for layout in complete if sparsities <= set(layout.columns[IMAGENET])]
    return [layout for layout in complete if not any(rows[layout.id] < other for other in wide)]


def further(params: Params) -> list[tuple[str, str | None, str | None]]:
    """(stage, section, rewind) that the grid has and no table that is shown, in the order of Table 2."""
    grid = params.grid
    shown = [of_imagenet(params)] if IMAGENET in grid.datasets else []
    shown += [of_cifar(params)] if set(grid.datasets) != {IMAGENET} else []
    rows = [
        {(row.stage, row.find(params), row.rewind) for one in tables for row in one.rows} for tables in shown
    ]
    wanted = [(params.stage_of(section), section, None) for section in by_family(params)]
    wanted += [("retrain", section, rewind) for section in grid.retrain for rewind in grid.rewinds]
    return [place for place in wanted if place not in set.intersection(*rows)]
