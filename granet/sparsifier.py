"""The one mutable object: it holds the masks and applies a `Method` to a model and its optimizer in place."""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from granet import masks as masks_
from granet.criteria import READS_GRADIENT
from granet.methods import Method
from granet.schedules import constant, cosine
from granet.types import Counts, Masks, Schedule, Shapes, Snapshot, Tensors, UserError
from granet.update import drop, grow, num_to_drop, prune

MASKABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)

# A zero gradient keeps a zero weight at zero only where the update of a weight looks at nothing but that weight.
ELEMENT_WISE = (
    torch.optim.SGD,
    torch.optim.Adam,
    torch.optim.AdamW,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.Adamax,
    torch.optim.RMSprop,
    torch.optim.Adagrad,
    torch.optim.Adadelta,
)


def maskable_weights(model: nn.Module) -> Tensors:
    """Every convolution's and linear layer's weight, first and last included; no biases, no BatchNorm.

    A weight that two layers share counts once, under its first name.
    """
    weights: Tensors = {}
    for name, module in model.named_modules():
        if isinstance(module, MASKABLE) and all(module.weight is not known for known in weights.values()):
            weights[f"{name}.weight" if name else "weight"] = module.weight
    return weights


class Sparsifier:
    """Sparse training in two calls around ``optimizer.step()``.

    >>> from granet.methods import METHODS
    >>> model = nn.Linear(8, 4, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> method = METHODS["granet"](sf=0.75, update_interval=2)
    >>> sparsifier = Sparsifier(model, optimizer, method, seed=0, total_steps=10)
    >>> for _ in range(10):
    ...     model(torch.ones(1, 8)).sum().backward()
    ...     sparsifier.after_backward()
    ...     optimizer.step()
    ...     sparsifier.after_step()
    ...     optimizer.zero_grad(set_to_none=True)
    >>> sparsifier.sparsity
    0.75

    Raises UserError for an optimizer that is not element-wise or does not hold every maskable weight.
    """

    def __init__(
        self, model: nn.Module, optimizer: Optimizer, method: Method, *, seed: int, total_steps: int
    ) -> None:
        _check(optimizer, model)
        self.method = method
        self.step = 0
        self._dense: Tensors = {}
        self._seed = seed
        self._optimizer = optimizer
        self._weights = maskable_weights(model) if method.init is not None else {}
        self._shapes: Shapes = {name: tuple(weight.shape) for name, weight in self._weights.items()}
        self._clock(method, total_steps)
        initial = method.init(self._shapes, seed) if method.init is not None else {}
        self.masks: Masks = {
            name: initial[name].to(weight.device, torch.bool, copy=True)
            for name, weight in self._weights.items()
        }
        self._project(self.masks)

    def _clock(self, method: Method, total_steps: int) -> None:
        """Work out everything that depends on the length of the run."""
        interval = method.update_interval or 0
        self._prune_span = method.prune.span(total_steps, interval) if method.prune else None
        self._target: Schedule = (
            method.prune.schedule(total_steps, interval) if method.prune else constant(0.0)
        )
        self._regenerate_stop = 0
        self._fraction: Schedule = constant(0.0)
        if (phase := method.regenerate) is not None:
            self._regenerate_stop = self.last_pruning_step if phase.until == "tf" else total_steps
            self._fraction = cosine(phase.initial, phase.final, total_steps)

    def _prunes_at(self, step: int) -> bool:
        return self._prune_span is not None and self._prune_span[0] <= step <= self._prune_span[1]

    def _regenerates_at(self, step: int) -> bool:
        return step <= self._regenerate_stop

    def updates_at(self, step: int) -> bool:
        """Whether the masks change after optimizer step ``step`` (counted from 1)."""
        interval = self.method.update_interval
        return (
            interval is not None
            and step % interval == 0
            and (self._prunes_at(step) or self._regenerates_at(step))
        )

    def reads_gradient_at(self, step: int) -> bool:
        """Whether the update after ``step`` needs the dense gradient (it costs FLOPs)."""
        phase = self.method.regenerate
        return (
            phase is not None
            and self.updates_at(step)
            and self._regenerates_at(step)
            and phase.grow in READS_GRADIENT
        )

    @property
    def last_pruning_step(self) -> int:
        """The step from which on the sparsity is final; 0 where it never changes."""
        return self._prune_span[1] if self._prune_span is not None else 0

    def after_backward(self) -> None:
        """Project the gradient onto the masks; on update steps it stays dense, and is kept for `after_step`.

        It is kept as a copy, because some optimizers write into .grad (SGD's fused and foreach forms with Nesterov).
        """
        if not self.updates_at(self.step + 1):
            masks_.apply_(self._gradients(), self.masks)
        elif self.reads_gradient_at(self.step + 1):
            self._dense = {name: grad.clone() for name, grad in self._gradients().items()}

    @torch.no_grad()
    def after_step(self) -> None:
        """Count the optimizer step, and update the masks where one is due."""
        self.step += 1
        if self.updates_at(self.step):
            self._update()

    def _gradients(self) -> Tensors:
        return {name: weight.grad for name, weight in self._weights.items() if weight.grad is not None}

    def _update(self) -> None:
        """Prune, then regenerate (fidelity: the order of Algorithm 1)."""
        weights: Tensors = {name: weight.detach() for name, weight in self._weights.items()}
        # A weight that no gradient has reached (an unused layer) scores zero.
        gradients = {
            name: self._dense.get(name, torch.zeros_like(weight)) for name, weight in weights.items()
        }
        snapshot = Snapshot(weights, gradients, self.step, self._seed)
        unit = self.method.granularity
        kept = {name: unit.group(mask) for name, mask in self.masks.items()}
        if self._prunes_at(self.step) and (phase := self.method.prune) is not None:
            scores = {name: unit.pool(score) for name, score in phase.criterion(snapshot).items()}
            kept = prune(kept, scores, phase.distribution(scores, kept, self._target(self.step)))
        active = kept
        if self._regenerates_at(self.step) and (phase := self.method.regenerate) is not None:
            counts = num_to_drop(kept, self._fraction(self.step))
            drop_scores = {name: unit.pool(score) for name, score in phase.drop(snapshot).items()}
            grow_scores = {name: unit.pool(score) for name, score in phase.grow(snapshot).items()}
            kept = drop(kept, drop_scores, counts)
            active = grow(kept, grow_scores, counts)
        for name, mask in self.masks.items():
            mask.copy_(unit.expand(active[name], weights[name]))
        # What was dropped and grown again in one update starts from zero like any other grown weight.
        self._project({name: unit.expand(kept[name], weights[name]) for name in kept})
        self._dense = {}
        masks_.apply_(self._gradients(), self.masks)

    @torch.no_grad()
    def _project(self, kept: Masks) -> None:
        """Zero weights and optimizer state outside ``kept``, and refresh the counts."""
        masks_.apply_({name: weight.detach() for name, weight in self._weights.items()}, kept)
        for name, weight in self._weights.items():
            for value in self._optimizer.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    value.mul_(kept[name])
        self._counts = masks_.num_active(self.masks)

    @property
    def num_active(self) -> Counts:
        """Active weights per tensor."""
        return dict(self._counts)

    @property
    def sparsity(self) -> float:
        """Share of all maskable weights that is inactive, in [0, 1]; 0 for dense training."""
        return masks_.sparsity(self._counts, self._shapes)

    @property
    def layer_sparsity(self) -> dict[str, float]:
        """The same per tensor; empty for dense training."""
        return masks_.layer_sparsity(self._counts, self._shapes)

    def state_dict(self) -> dict:
        """Everything a resumed run needs: the step and the packed masks, with their shapes."""
        return {"step": self.step, "masks": masks_.pack(self.masks), "shapes": self._shapes}

    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`. Raises UserError where it is of another model."""
        if state["shapes"] != self._shapes:
            odd = sorted({name for name, _ in state["shapes"].items() ^ self._shapes.items()})
            raise UserError(f"masks: this state is of another model; differing tensors: {', '.join(odd[:3])}")
        self.step = state["step"]
        for name, mask in masks_.unpack(state["masks"], self._shapes).items():
            self.masks[name].copy_(mask)
        self._counts = masks_.num_active(self.masks)


def _check(optimizer: Optimizer, model: nn.Module) -> None:
    if type(optimizer) not in ELEMENT_WISE:  # a subclass may update otherwise, as LARS does
        names = ", ".join(cls.__name__ for cls in ELEMENT_WISE)
        raise UserError(
            f"optimizer={type(optimizer).__name__} is not known to be element-wise, so masked weights would not "
            f"stay zero; use one of {names}"
        )
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [name for name, weight in maskable_weights(model).items() if id(weight) not in held]
    if missing:
        raise UserError(f"optimizer: does not hold {missing[0]}; build it from model.parameters()")
