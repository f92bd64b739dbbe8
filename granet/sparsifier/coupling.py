"""Which channels of a network live and die together, read off its graph.

The network is traced by torch.fx, without data. Every tensor in the graph has a *space* of channels: a convolution or
linear layer reads the space of its input and makes a new one; whatever keeps the channels apart passes its space on; a
sum makes one space of its terms'. What passes a space on also maps zero to zero, so a channel that is zero stays zero
up to the layers that read it.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from granet.common.granularity import ChannelGroup
from granet.maskable import PLAIN
from granet.types import UserError

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
PASSED_ON = (
    nn.Identity,
    nn.ReLU,
    nn.Dropout,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,  # of 1x1 positions: the layer that follows must find as many features as there are channels
)
FUNCTIONS = (torch.flatten, torch.relu, F.relu)
SUMS = (operator.add, operator.iadd, torch.add)


def channel_groups(model: nn.Module) -> list[ChannelGroup]:
    """The groups of channels of a model, in the model's order; without the image's channels and the logits.

    Raises UserError, with the name of the module, for a model that torch.fx cannot trace and for whatever is not
    known to keep channels apart: grouped convolutions, concatenation, normalisations other than BatchNorm.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    >>> [group] = channel_groups(net)
    >>> group.size, group.outputs, group.inputs, group.vectors
    (8, ('0.weight',), ('3.weight',), ('1.weight', '1.bias'))
    """
    walk = _Walk(model)
    spaces: dict[fx.Node, _Space] = {}
    for node in trace(model).nodes:
        terms = [spaces[term] for term in node.all_input_nodes]
        if node.op == "placeholder":
            spaces[node] = _Space(closed=True)
        elif node.op == "output":
            for space in terms:
                space.root.closed = True
        elif node.op == "call_module" and len(terms) == 1:
            spaces[node] = walk.module(node.target, terms[0])
        elif (
            node.op == "call_function"
            and node.target in SUMS
            and all(isinstance(a, fx.Node) for a in node.args)
        ):
            spaces[node] = walk.join(terms, _caller(node))
        elif node.target is torch.flatten and _start_dim(node) != 1:
            raise _unknown(_caller(node), f"flattens from axis {_start_dim(node)}")
        elif (node.op == "call_function" and node.target in FUNCTIONS) or _is_method_apart(node):
            spaces[node] = terms[0]
        else:
            what = getattr(node.target, "__name__", node.target)
            raise _unknown(_caller(node), f"calls {what}")
    return walk.groups()


def groups_within(model: nn.Module, weights: Iterable[str]) -> list[ChannelGroup]:
    """Those of `channel_groups` whose filters, and the columns that read them, are all among these weights."""
    names = set(weights)
    return [group for group in channel_groups(model) if names.issuperset((*group.outputs, *group.inputs))]


@dataclass
class _Space:
    """Channels of one place in the graph. Spaces that a sum joins have one root, which holds what is known of them."""

    size: int | None = None
    closed: bool = False
    """Whether the image or the logits are among them: then they are all needed."""
    members: dict[str, set[str]] = field(
        default_factory=lambda: {role: set() for role in ("outputs", "inputs", "norms", "vectors")}
    )
    _parent: "_Space | None" = None

    @property
    def root(self) -> "_Space":
        return self if self._parent is None else self._parent.root

    def absorb(self, other: "_Space") -> None:
        """Of two roots, this one becomes the other's."""
        self.size = self.size or other.size
        self.closed |= other.closed
        for role, names in other.members.items():
            self.members[role] |= names
        other._parent = self


class _Walk:
    """What the walk over the graph has met."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules())
        self._parameters = {id(value): name for name, value in model.named_parameters()}
        self._order = {name: i for i, name in enumerate([*self._parameters.values(), *self._modules])}
        self._written: dict[str, _Space] = {}
        self._read: dict[str, _Space] = {}

    def module(self, name: str, space: _Space) -> _Space:
        """The space that a module makes of its input's."""
        module = self._modules[name]
        if isinstance(module, PLAIN):
            return self._layer(name, module, space)
        if isinstance(module, NORMS):
            self._expect(space, module.num_features, name)
            space = self._read_by(name, space)
            space.members["norms"].add(name)
            space.members["vectors"] |= self._names(module.weight, module.bias)
            return space
        if isinstance(module, nn.Flatten) and module.start_dim != 1:
            raise _unknown(name, f"flattens from axis {module.start_dim}")
        if isinstance(module, PASSED_ON):
            return space
        raise _unknown(name, f"is a {type(module).__name__}")

    def _layer(self, name: str, module: Any, space: _Space) -> _Space:
        if getattr(module, "groups", 1) != 1:
            raise _unknown(name, f"is a convolution with groups={module.groups}")
        weight = self._parameters.get(id(module.weight))
        if weight is None:
            raise _unknown(name, "has a weight that is no parameter but computed from others")
        num_outputs, num_inputs = module.weight.shape[:2]
        self._expect(space, num_inputs, name)
        self._read_by(weight, space).members["inputs"].add(weight)
        outputs = self._written.setdefault(weight, _Space(num_outputs)).root
        outputs.members["outputs"].add(weight)
        outputs.members["vectors"] |= self._names(module.bias)
        return outputs

    def join(self, spaces: list[_Space], name: str) -> _Space:
        """The one space of the terms of a sum."""
        first = spaces[0].root
        for other in spaces[1:]:
            self._expect(first, other.root.size, name)
            if other.root is not first:
                first.absorb(other.root)
        return first

    def _read_by(self, name: str, space: _Space) -> _Space:
        """The space that a weight or norm reads. One that is called twice joins what it reads."""
        return self.join([self._read.setdefault(name, space), space], name)

    def groups(self) -> list[ChannelGroup]:
        """What was met, by space."""
        roots = {id(space.root): space.root for space in self._written.values()}
        groups = [self._group(space) for space in roots.values() if not space.closed]
        return sorted(groups, key=lambda group: self._order[group.name])

    def _group(self, space: _Space) -> ChannelGroup:
        assert space.size is not None
        members = {
            role: tuple(sorted(names, key=self._order.__getitem__)) for role, names in space.members.items()
        }
        return ChannelGroup(members["outputs"][0], space.size, **members)

    def _names(self, *values: nn.Parameter | None) -> set[str]:
        return {self._parameters[id(value)] for value in values if value is not None}

    def _expect(self, space: _Space, size: int | None, name: str) -> None:
        if None not in (size, space.root.size) and size != space.root.size:
            raise _unknown(name, f"meets {space.root.size} channels where it is made for {size}")


class _Tracer(fx.Tracer):
    def call_module(self, m: nn.Module, *args: Any, **kw: Any) -> Any:
        try:
            return super().call_module(m, *args, **kw)
        except UserError:
            raise
        except Exception as error:
            raise _untraced(self.path_of_module(m), error) from error


def trace(model: nn.Module) -> fx.Graph:
    """The graph of a model, without data. Raises UserError, with a module's name, where torch.fx cannot."""
    try:
        return _Tracer().trace(model)
    except UserError:
        raise
    except Exception as error:  # whatever the model's own code makes of a tensor without values
        raise _untraced(type(model).__name__, error) from error


def _is_method_apart(node: fx.Node) -> bool:
    """Whether a node is x.relu(), or x.mean over positions: axes from 2 on."""
    if node.op != "call_method" or node.target != "mean":
        return node.op == "call_method" and node.target == "relu"
    axes: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    return bool(axes) and all(axis > 1 for axis in ([axes] if isinstance(axes, int) else axes))


def _start_dim(node: fx.Node) -> Any:
    """The axis from which torch.flatten flattens."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)


def _caller(node: fx.Node) -> str:
    """The module whose forward holds this call."""
    return next(reversed(node.meta.get("nn_module_stack", {})), "") or "the model"


def _unknown(name: str, what: str) -> UserError:
    return UserError(
        f"{name} {what}: which channels depend on each other there is not known; "
        "prune single weights, without shrinking"
    )


def _untraced(name: str, error: Exception) -> UserError:
    reason: Iterable[str] = str(error).splitlines() or [type(error).__name__]
    return UserError(
        f"{name} cannot be traced by torch.fx, so its filters cannot be pruned: {next(iter(reason))}"
    )
