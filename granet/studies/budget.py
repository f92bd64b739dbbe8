"""The budget of a network (Appendix D of GraNet): what each layer holds and costs at its sparsity, and the totals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod

from torch import nn

from granet.flops import Flops, layer_flops
from granet.maskable import maskable_weights


@dataclass(frozen=True)
class LayerBudget:
    """One layer, or the sum of several. FLOPs are those of one image's forward, 2 per multiply-add.

    ``name`` is that of the weight, or of the pooling module, whose ``shape`` is empty; so is that of a sum.
    ``parameters`` are the maskable weights: biases and BatchNorm, which stay dense, are not counted.
    """

    name: str
    shape: tuple[int, ...]
    parameters: int
    active: int
    dense_flops: int
    flops: int

    @property
    def sparsity(self) -> float:
        """Fraction of the weights that is zero; 0 for pooling, which has none.

        >>> LayerBudget("fc.weight", (10, 8), 80, 20, 160, 40).sparsity
        0.75
        """
        return 1 - self.active / self.parameters if self.parameters else 0.0

    @property
    def flops_ratio(self) -> float:
        """FLOPs as a share of the dense layer's; 1 for one that is never called."""
        return self.flops / self.dense_flops if self.dense_flops else 1.0

    @property
    def is_convolution(self) -> bool:
        """Whether the weight has a kernel, which tells a convolution from a linear layer."""
        return len(self.shape) > 2


@dataclass(frozen=True)
class Budget:
    """Every layer of a network, in the order of the model."""

    layers: list[LayerBudget]

    @property
    def overall(self) -> LayerBudget:
        """All layers together."""
        return _sum("overall", self.layers)

    @property
    def backbone(self) -> LayerBudget:
        """All convolutions together: the network without its classifier and its pooling."""
        return _sum("backbone", [layer for layer in self.layers if layer.is_convolution])

    @property
    def rows(self) -> Iterator[LayerBudget]:
        """As Appendix D prints it: the two totals, then the layers."""
        yield from (self.overall, self.backbone, *self.layers)


def _sum(name: str, layers: list[LayerBudget]) -> LayerBudget:
    parameters, active, dense_flops, flops = (
        sum(getattr(layer, key) for layer in layers)
        for key in ("parameters", "active", "dense_flops", "flops")
    )
    return LayerBudget(name, (), parameters, active, dense_flops, flops)


@dataclass(frozen=True)
class Outline:
    """What of a network its budgets depend on: shapes of the maskable weights, and dense FLOPs, both by layer."""

    shapes: dict[str, tuple[int, ...]]
    dense: Flops

    def at(self, layer_sparsity: Mapping[str, float]) -> Budget:
        """The budget where these weights are masked; weights not named stay dense.

        ``layer_sparsity`` maps weight names to the fraction of weights that is zero, in [0, 1]. Raises UserError for a
        name that is no layer here, and for a fraction out of range.

        >>> fc = Outline({"fc.weight": (10, 8)}, Flops(160, {"fc.weight": 160}))
        >>> fc.at({"fc.weight": 0.75}).overall
        LayerBudget(name='overall', shape=(), parameters=80, active=20, dense_flops=160, flops=40)
        """
        masked = self.dense.at(layer_sparsity)
        layers = []
        for name, dense_flops in self.dense.layers.items():
            shape = self.shapes.get(name, ())
            size = prod(shape) if shape else 0
            if not size and not dense_flops:  # a parameter that multiplies nothing
                continue
            active = round(size * (1 - layer_sparsity.get(name, 0.0)))
            layers.append(LayerBudget(name, shape, size, active, dense_flops, masked.layers[name]))
        return Budget(layers)


def outline(model: nn.Module, input_shape: tuple[int, ...]) -> Outline:
    """The outline of a model that is given images of ``input_shape`` (C, H, W). Runs one forward, on its device.

    For many sparsities of one model, keep it and call `Outline.at`.
    """
    layers = layer_flops(model, input_shape)
    shapes = {name: tuple(weight.shape) for name, weight in maskable_weights(model).items()}
    return Outline(shapes, Flops(sum(layers.values()), layers))
