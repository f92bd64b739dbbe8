"""The one mutable object: it holds the masks and applies a `Method` to a model and its optimizer in place."""

import warnings
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from granet import masks as masks_
from granet.clock import Clock
from granet.maskable import check_optimizer, maskable_weights
from granet.method import Method
from granet.projection import SoftThreshold, bake, same_shaped
from granet.types import Counts, InitContext, Masks, Shapes, Snapshot, Tensors, UserError
from granet.update import drop, grow, prune

MOMENTUM = ("momentum_buffer", "exp_avg")
"""What optimizers call their running mean of the gradient."""


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

    ``batches`` gives training images and labels to methods that choose their masks from data (SNIP, GraSP, SynFlow,
    SIS). ``rewind_to`` is the state_dict that a method with rounds goes back to (IMP). After the last step, `finish`
    makes a model whose method changes the forward (STR, DPF, original GMP) an ordinary one again.

    Raises UserError for an optimizer that is not element-wise or does not hold every maskable weight; dense training,
    which has no masks, goes with any.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        method: Method,
        *,
        seed: int,
        total_steps: int,
        batches: Callable[[], Iterable[tuple[Tensor, Tensor]]] | None = None,
        rewind_to: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.method = method
        self.step = 0
        self.num_skipped = 0
        """Updates that were left out because a gradient or a score was not finite."""
        self._model = model
        self._optimizer = optimizer
        self._seed = seed
        self._clock = Clock(method, total_steps)
        self._rewind_to = rewind_to
        self._dense: Tensors = {}
        self.masks: Masks = {}
        self._weights: Tensors = {}
        if method.init is not None:
            check_optimizer(optimizer, model)
            self._weights = maskable_weights(model)
            initial = method.init(InitContext(model, self._weights, seed, batches))
            self.masks = {
                name: initial[name].to(weight.device, torch.bool, copy=True)
                for name, weight in self._weights.items()
            }
        self._shapes: Shapes = {name: tuple(weight.shape) for name, weight in self._weights.items()}
        # What the masks keep at zero: the weights, and where channels are pruned their BatchNorm as well.
        vectors = {name: model.get_parameter(name) for name in method.granularity.vectors}
        self._held: Tensors = self._weights | vectors
        self._held_masks: Masks = self.masks | {
            name: torch.ones_like(vector, dtype=torch.bool) for name, vector in vectors.items()
        }
        self._follow(method.granularity.group(self.masks))
        self._memory: Tensors = {}
        if method.regenerate is not None:
            self._memory = method.regenerate.drop.remember(_detached(self._weights))
        self._parametrized = method.projection.attach(model, optimizer, self._weights, self.masks)
        self._restart()
        self._clear(self._held_masks)

    def updates_at(self, step: int) -> bool:
        """Whether the masks change after optimizer step ``step`` (counted from 1)."""
        return self._clock.updates_at(step)

    def reads_gradient_at(self, step: int) -> bool:
        """Whether ``step`` or the update after it needs the dense gradient (it costs FLOPs)."""
        return self._clock.reads_gradient_at(step)

    @property
    def last_pruning_step(self) -> int:
        """The step from which on the sparsity is final; 0 where it never changes."""
        return self._clock.last_pruning_step

    def after_backward(self) -> None:
        """Project the gradient onto the masks; on update steps it stays dense, and is kept for `after_step`.

        It is kept as a copy, because some optimizers write into .grad (SGD's fused and foreach forms with Nesterov).
        """
        if not self.updates_at(self.step + 1):
            self.method.projection.backward_(self._gradients(), self._held_masks)
        elif self._clock.ranks_gradient_at(self.step + 1):
            self._dense = {n: grad.clone() for n, grad in self._gradients().items() if n in self.masks}

    @torch.no_grad()
    def after_step(self) -> None:
        """Count the optimizer step, and update the masks where one is due."""
        self.step += 1
        if self.method.langevin is not None:
            weights, lr = _detached(self._weights), self._learning_rates()
            self.method.langevin.move_(weights, self.masks, lr, seed=self._seed, step=self.step)
        if self.updates_at(self.step):
            self._update()
        else:
            self.method.projection.step_(_detached(self._held), self._held_masks)

    def finish(self) -> None:
        """After training: leave an ordinary model, whose weights are what its forward used."""
        bake(self._model, list(self._parametrized))
        self._parametrized = {}

    def _learning_rates(self) -> dict[str, float]:
        """The learning rate of every maskable weight: that of its parameter group."""
        by_tensor = {id(p): float(g["lr"]) for g in self._optimizer.param_groups for p in g["params"]}
        return {name: by_tensor[id(weight)] for name, weight in self._weights.items()}

    def _gradients(self) -> Tensors:
        return {name: tensor.grad for name, tensor in self._held.items() if tensor.grad is not None}

    def _follow(self, units: Masks) -> None:
        """Set the masks of BatchNorm to those of its channels."""
        for name, key in self.method.granularity.vectors.items():
            self._held_masks[name].copy_(units[key])

    def _snapshot(self) -> Snapshot:
        weights = _detached(self._weights)
        gradients: Tensors = {}
        if self._clock.ranks_gradient_at(self.step):
            # A weight that no gradient has reached (an unused layer) scores zero.
            gradients = {n: self._dense.get(n, torch.zeros_like(weight)) for n, weight in weights.items()}
        state = {name: self._optimizer.state.get(weight, {}) for name, weight in self._weights.items()}
        return Snapshot(
            weights,
            gradients,
            self.step,
            self._seed,
            {name: s[key] for name, s in state.items() for key in MOMENTUM if s.get(key) is not None},
            {name: m.threshold for name, m in self._parametrized.items() if isinstance(m, SoftThreshold)},
            self._memory,
        )

    def _update(self) -> None:
        """Prune, then regenerate (fidelity: the order of Algorithm 1)."""
        snapshot, unit, clock = self._snapshot(), self.method.granularity, self._clock
        scores = {criterion: unit.pool(criterion(snapshot)) for criterion in clock.criteria_at(self.step)}
        if not _finite(*scores.values()):
            self._skip()
            return
        kept = unit.group(self.masks)
        if self.method.projection.keeps_values:  # so all of them are ranked
            kept = {name: torch.ones_like(mask) for name, mask in kept.items()}
        if clock.prunes_at(self.step) and (phase := self.method.prune) is not None:
            ranks = scores[phase.criterion]
            kept = prune(kept, ranks, phase.distribution(ranks, kept, clock.target(self.step)))
        active = kept
        if clock.regenerates_at(self.step) and (phase := self.method.regenerate) is not None:
            ranks, fraction = scores[phase.drop.criterion], clock.fraction(self.step)
            counts, self._memory = phase.drop.count(ranks, kept, fraction, self._memory)
            kept = drop(kept, ranks, counts)
            active = grow(kept, scores[phase.grow], phase.reallocate(snapshot, kept, counts))
        for name, mask in unit.expand(active, active, snapshot.weights).items():
            self.masks[name].copy_(mask)
        self._follow(active)
        for name, module in self._parametrized.items():
            module.refresh(snapshot.weights[name])
        self._restart()
        # What was dropped and grown again in one update starts from zero like any other grown weight.
        self._clear(self._held_masks | unit.expand(kept, active, snapshot.weights))
        self._dense = {}
        self.method.projection.backward_(self._gradients(), self._held_masks)

    def _skip(self) -> None:
        """Leave masks and counts as they are: NaN and infinity rank nothing. What a dense gradient moved is zeroed."""
        if self.num_skipped == 0:
            warnings.warn(
                f"step {self.step}: a gradient or a weight is not finite, so this mask update is skipped, as all such "
                "will be; Sparsifier.num_skipped counts them",
                stacklevel=3,
            )
        self.num_skipped += 1
        self._dense = {}
        if not self.method.projection.keeps_values:
            for name, tensors in same_shaped(self._optimizer, self._held).items():
                for tensor in (*tensors, self._held[name].detach()):
                    tensor.masked_fill_(~self._held_masks[name], 0.0)  # a product would keep NaN
            for name, gradient in self._gradients().items():
                gradient.masked_fill_(~self._held_masks[name], 0.0)

    def _restart(self) -> None:
        """Begin a round: back to the initial weights, or on with the last ones; the optimizer starts afresh."""
        if self.method.restart is None:
            return
        if self.method.restart == "weights":
            if self._rewind_to is None:
                raise UserError(
                    "rewind='weights' needs the run's initial weights; pass rewind_to to Sparsifier"
                )
            self._model.load_state_dict(self._rewind_to)
        self._optimizer.state.clear()

    @torch.no_grad()
    def _clear(self, kept: Masks) -> None:
        """Zero what the projection wants at zero outside ``kept``, and refresh the counts."""
        states = same_shaped(self._optimizer, self._held)
        self.method.projection.clear_(_detached(self._held), states, kept)
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
        """Everything a resumed run needs: the step, the packed masks with their shapes, and the drop's memory."""
        masks = masks_.pack(self.masks)
        return {
            "step": self.step,
            "masks": masks,
            "shapes": self._shapes,
            "memory": self._memory,
            "num_skipped": self.num_skipped,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`. Raises UserError where it is of another model."""
        if state["shapes"] != self._shapes:
            odd = sorted({name for name, _ in state["shapes"].items() ^ self._shapes.items()})
            raise UserError(f"masks: this state is of another model; differing tensors: {', '.join(odd[:3])}")
        self.step = state["step"]
        self.num_skipped = state.get("num_skipped", 0)
        for name, mask in masks_.unpack(state["masks"], self._shapes).items():
            self.masks[name].copy_(mask)
        self._follow(self.method.granularity.group(self.masks))
        self._memory = {
            name: value.to(self._memory[name].device) for name, value in state.get("memory", {}).items()
        }
        self._counts = masks_.num_active(self.masks)


def _detached(tensors: Tensors) -> Tensors:
    return {name: tensor.detach() for name, tensor in tensors.items()}


def _finite(*scores: Tensors) -> bool:
    """Whether no score is NaN or infinite. One question to the device, however many tensors there are."""
    flags = [score.isfinite().all() for tensors in scores for score in tensors.values()]
    return not flags or bool(torch.stack([flag.to(flags[0].device) for flag in flags]).all())
