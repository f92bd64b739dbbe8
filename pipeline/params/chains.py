"""Chains and soups: what the grid may make of a method that starts from the trained dense network.

A chain is one run after the other through the grid's sparsities, each from the network of the one before; a soup is the
mean of retrainings of one mask.
"""

import inspect
from collections.abc import Iterable

from granet.methods import METHODS
from granet.types import UserError
from pipeline.params.schema import Params


def links(sparsities: Iterable[float]) -> list[tuple[float | None, float]]:
    """The runs of a chain in their order: the sparsity each goes on from, None for the dense network, and its own.

    >>> links([0.95, 0.9])
    [(None, 0.9), (0.9, 0.95)]
    """
    rising = sorted(sparsities)
    return list(zip([None, *rising], rising, strict=False))


def check_special(params: Params, stage: str, section: str, sparsity: float, steps: int) -> bool:
    """Whether a stage is one of chains or of soups; then raises UserError where a section is not for it."""
    if stage == "chain":
        check_link(params, section)
    if stage in ("member", "soup"):
        check_soup(params, section, sparsity, steps)
    return stage in ("chain", "member", "soup")


def check_soup(params: Params, section: str, sparsity: float, steps: int) -> None:
    """Raises UserError where the retrainings of a section would not be of one mask."""
    method = params.method(section, sparsity, steps)
    if method.family != "after_training" or method.rounds > 1:
        raise UserError(
            f"method={section!r} cannot make a soup, whose networks share the mask of one pruning of the trained dense "
            "network; choose one_shot, or bimp with rounds: 1"
        )


def check_link(params: Params, section: str) -> None:
    """Raises UserError where a section cannot be a chain: its method goes on from no trained and pruned network."""
    row = METHODS[params.methods[section]["method"]]
    if params.family(section) != "after_training" or "begun" not in inspect.signature(row).parameters:
        raise UserError(
            f"method={section!r} cannot be a chain, whose runs go on from the network of the one before; choose one of "
            "method imp or bimp that starts from the trained dense network"
        )


def check_chains(params: Params) -> None:
    """Raises UserError where a list of the grid has a section that cannot be a chain, or that is in grid.after too."""
    for section in params.grid.chains:
        if section not in params.methods:
            continue  # which is said where its runs are checked
        check_link(params, section)
        if section in params.grid.after:
            raise UserError(
                f"grid.chains={section!r} is in grid.after too, whose runs are others; remove it from one"
            )
