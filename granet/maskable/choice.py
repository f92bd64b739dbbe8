"""Which layers are masked, by their types, their names, or patterns of these."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from granet.common.keys import Key
from granet.common.names import plain_name
from granet.maskable.layers import matrices
from granet.types import Tensors, UserError

Selector = str | type[nn.Module]
"""A module's type, or the name of the type; a weight's or a module's name; or a pattern of names (fnmatch)."""

Selectors = Selector | Iterable[Selector]


@dataclass(frozen=True)
class Choice:
    """Which layers are masked. A selector holds for all that is within the module that it names.

    ``include``: these alone; empty: all layers that multiply by a matrix. A weight of another kind (an Embedding's, a
    parameter of the model's own) is masked where its own name is given, or the name or the type of its own module.
    ``exclude``: not these. ``dense``: "first" and "last", in the model's order, are not masked either.
    What is not masked is no part of the sparsity.
    """

    include: tuple[Selector, ...] = ()
    exclude: tuple[Selector, ...] = ()
    dense: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Key("layers that stay dense, by their place", choices=("first", "last")).check("dense", self.dense)

    @staticmethod
    def made(include: Selectors = (), exclude: Selectors = (), dense: str | Iterable[str] = ()) -> "Choice":
        """From one selector or several of each."""
        ends = (dense,) if isinstance(dense, str) else tuple(dense)
        return Choice(
            *(tuple([s] if isinstance(s, str | type) else s) for s in (include, exclude)), dense=ends
        )

    def weights(self, model: nn.Module) -> Tensors:
        """The weights that are masked, in the model's order: those of `of` that are not frozen."""
        return {name: weight for name, weight in self.of(model).items() if weight.requires_grad}

    def of(self, model: nn.Module) -> Tensors:
        """The weights that are chosen, frozen ones too. One that layers share counts once, under its first name.

        Raises UserError where a selector names none.
        """
        places = list(_places(model))
        usual = [place for place in places if place.is_usual]
        chosen = [p for selector in self.include for p in _meant("include", selector, places)] or usual
        out = self._left_out(places)
        names = {place.name for place in chosen if id(place.weight) not in out}
        first_names = {id(p.weight): p.name for p in reversed(places) if p.name in names}
        return {p.name: p.weight for p in places if first_names.get(id(p.weight)) == p.name}

    def left_out(self, model: nn.Module) -> Tensors:
        """What ``exclude`` and ``dense`` name, of whatever kind it is."""
        places = list(_places(model))
        out = self._left_out(places)
        return {place.name: place.weight for place in places if id(place.weight) in out}

    def _left_out(self, places: list["_Place"]) -> set[int]:
        usual = [place for place in places if place.is_usual]
        out = {id(place.weight) for selector in self.exclude for place in _meant("exclude", selector, places)}
        for end in (usual[:1] if "first" in self.dense else []) + (
            usual[-1:] if "last" in self.dense else []
        ):
            out |= {id(place.weight) for place in usual if place.modules[-1] is end.modules[-1]}
        return out


EVERY_LAYER = Choice()


@dataclass(frozen=True)
class _Place:
    """A weight, with the modules that it lies in, the outermost first."""

    name: str
    weight: Tensor
    modules: tuple[nn.Module, ...]
    is_usual: bool

    def is_named(self, selector: Selector) -> bool:
        """Whether the selector names the weight, its module, or one around it."""
        if not isinstance(selector, str):
            return any(isinstance(module, selector) for module in self.modules)
        parts = self.name.split(".")
        names = [".".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        kinds = [_kind(module) for module in self.modules]
        return selector in kinds or any(fnmatchcase(name, selector) for name in names)

    def is_chosen(self, selector: Selector) -> bool:
        """The same, but a weight of no usual kind has to be meant: by its own name, or by its own module's."""
        if self.is_usual:
            return self.is_named(selector)
        owner = self.modules[-1]
        if not isinstance(selector, str):
            return selector is not nn.Module and isinstance(owner, selector)
        return selector in (self.name, self.name.rpartition(".")[0], _kind(owner))


def _meant(key: str, selector: Selector, places: list[_Place]) -> list[_Place]:
    """What a selector of include or exclude names. Raises UserError where that is nothing."""
    found = [p for p in places if (p.is_chosen(selector) if key == "include" else p.is_named(selector))]
    if not found:
        name = selector if isinstance(selector, str) else selector.__name__
        kinds = ", ".join(dict.fromkeys(_kind(place.modules[-1]) for place in places))
        example = places[0].name if places else "none"
        raise UserError(
            f"{key}={name!r} names no weight of this model; its names are like {example}, its layers are {kinds}"
        )
    return found


def _places(model: nn.Module) -> Iterator[_Place]:
    """Every matrix of a layer that multiplies by it, and every other parameter of two axes or more."""
    usual = dict(matrices(model))
    modules = dict(model.named_modules(remove_duplicate=False))
    order = {name: number for number, name in enumerate(modules)}
    named = model.named_parameters(remove_duplicate=False)
    others = dict(_as_computed(modules, name, p) for name, p in named if _has_axes(p))
    for name, weight in sorted((others | usual).items(), key=lambda item: order[item[0].rpartition(".")[0]]):
        path = name.split(".")[:-1]
        around = tuple(modules[".".join(path[:depth])] for depth in range(len(path) + 1))
        yield _Place(name, weight, around, name in usual)


def _as_computed(modules: dict[str, nn.Module], name: str, parameter: Tensor) -> tuple[str, Tensor]:
    """A parameter by its name; what a parametrization computes from one, by the name that it had before."""
    if (plain := plain_name(name)) == name:
        return name, parameter
    owner, _, attribute = plain.rpartition(".")
    return plain, getattr(modules[owner], attribute)


def _kind(module: nn.Module) -> str:
    return type(module).__name__.removeprefix("Parametrized")  # as torch calls the class of one that is


def _has_axes(parameter: Tensor) -> bool:
    return not isinstance(parameter, UninitializedParameter) and parameter.dim() > 1
