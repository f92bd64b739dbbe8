"""Which of the paper's tables a grid shows, and what of it stands in none of them."""

from pipeline.params.schema import Params
from pipeline.report.names import by_family
from pipeline.report.paper.numbers import CIFAR, IMAGENET, Layout, layouts

FURTHER = Layout("further", CIFAR, "Methods and settings outside the paper's tables", {}, {})
Place = tuple[str, str | None, str | None]
"""(stage, section, rewind)."""


def shown(params: Params) -> list[Layout]:
    """The printed tables with rows in the grid, of ImageNet first, and at last `FURTHER` where it has any."""
    tables = [*of_imagenet(params), *of_cifar(params)]
    return [*tables, FURTHER] if further(params) else tables


def _rows_of_grid(layout: Layout, params: Params) -> set[str]:
    return {row.id for row in layout.rows if row.find(params)}


def of_cifar(params: Params) -> list[Layout]:
    """Those on CIFAR with rows in the grid, but for one whose rows in the grid all stand in another one."""
    if all(dataset == IMAGENET for dataset in params.grid.datasets):
        return []
    tables = layouts(CIFAR)
    rows = [_rows_of_grid(layout, params) for layout in tables]
    return [
        layout
        for index, layout in enumerate(tables)
        if rows[index] and rows[index] not in rows[:index] and not any(rows[index] < other for other in rows)
    ]


def of_imagenet(params: Params) -> list[Layout]:
    """Those on ImageNet with all rows in the grid.

    Not so a table whose rows all stand in another one that is shown, at all sparsities of the grid. Where some table
    has more rows of the grid than those, though not all of its rows: that one alone; of several the one with more of
    the grid's sparsities, then the shortest.
    """
    if IMAGENET not in params.grid.datasets:
        return []
    tables, sparsities = layouts(IMAGENET), set(params.grid.sparsities)
    rows = {layout.id: _rows_of_grid(layout, params) for layout in tables}
    complete = [layout for layout in tables if rows[layout.id] == set(layout.row_ids)]

    def worth(layout: Layout) -> tuple[int, int, int]:
        num_shared = len(sparsities.intersection(layout.columns[IMAGENET]))
        return len(rows[layout.id]), num_shared, -len(layout.row_ids)

    most = max(tables, key=worth)
    if len(rows[most.id]) > len(set().union(*(rows[layout.id] for layout in complete))):
        return [most]
    return [
        layout
        for layout in complete
        if not any(
            rows[layout.id] < rows[other.id] and sparsities <= set(other.columns[IMAGENET])
            for other in complete
        )
    ]


def further(params: Params) -> list[Place]:
    """What the grid has and no table that is shown, in the order of Table 2."""
    places = [
        {(row.stage, row.find(params), row.rewind) for layout in tables for row in layout.rows}
        for tables in (of_cifar(params), of_imagenet(params))
    ]
    on_imagenet = [dataset == IMAGENET for dataset in params.grid.datasets]
    taken = places[0]
    if any(on_imagenet):
        taken = places[1] if all(on_imagenet) else places[0] & places[1]
    wanted: list[Place] = [(params.stage_of(section), section, None) for section in by_family(params)]
    wanted += [("retrain", m, rewind) for m in params.grid.retrain for rewind in params.grid.rewinds]
    return [place for place in wanted if place not in taken]
