"""The one mutable object: it holds the masks and applies a `Method` to a model and its optimizer in place."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from granet import masks as masks_
from granet.clock import Clock
from granet.criteria import Criterion
from granet.maskable import check_optimizer, maskable_weights
from granet.method import Method
from granet.reparam import Masked, SoftThreshold, attach, bake
from granet.types import Counts, Given, Masks, Shapes, Snapshot, Tensors, UserError
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

    Raises UserError for an optimizer that is not element-wise or does not hold every maskable weight.
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
        check_optimizer(optimizer, model)
        self.method = method
        self.step = 0
        self._model = model
        self._optimizer = optimizer
        self._seed = seed
        self._clock = Clock(method, total_steps)
        self._rewind_to = rewind_to
        self._dense: Tensors = {}
        self._weights = maskable_weights(model) if method.init is not None else {}
        self._shapes: Shapes = {name: tuple(weight.shape) for name, weight in self._weights.items()}
        initial = method.init(Given(model, self._weights, seed, batches)) if method.init is not None else {}
        self.masks: Masks = {
            name: initial[name].to(weight.device, torch.bool, copy=True)
            for name, weight in self._weights.items()
        }
        # What the masks keep at zero: the weights, and where channels are pruned their BatchNorm as well.
        vectors = {name: model.get_parameter(name) for name in method.granularity.vectors}
        self._held: Tensors = self._weights | vectors
        self._held_masks: Masks = self.masks | {
            n: torch.ones_like(v, dtype=torch.bool) for n, v in vectors.items()
        }
        self._follow(method.granularity.group(self.masks))
        self._memory: Tensors = {}
        if method.regenerate is not None:
            self._memory = method.regenerate.drop.remember(_detached(self._weights))
        self._reparams: dict[str, Masked] = {}
        if method.reparam is not None:
            self._reparams = attach(model, self._weights, self.masks, method.reparam)
            if learned := [p for module in self._reparams.values() for p in module.parameters()]:
                optimizer.add_param_group({"params": learned})
        self._restart()
        self._project(self._held_masks)

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
        if self.method.dense_gradient or self._reparams:
            return
        if not self.updates_at(self.step + 1):
            masks_.apply_(self._gradients(), self._held_masks)
        elif self.reads_gradient_at(self.step + 1):
            self._dense = {n: grad.clone() for n, grad in self._gradients().items() if n in self.masks}

    @torch.no_grad()
    def after_step(self) -> None:
        """Count the optimizer step, and update the masks where one is due."""
        self.step += 1
        if self.method.langevin is not None:
            lr = float(self._optimizer.param_groups[0]["lr"])
            self.method.langevin.move_(
                _detached(self._weights), self.masks, lr, seed=self._seed, step=self.step
            )
        if self.updates_at(self.step):
            self._update()
        elif self.method.dense_gradient and not self._reparams:
            masks_.apply_(
                _detached(self._held), self._held_masks
            )  # a dense momentum moves masked weights at every step

    def finish(self) -> None:
        """After training: leave an ordinary model, whose weights are what its forward used."""
        bake(self._model, list(self._reparams))
        self._reparams = {}

    def _gradients(self) -> Tensors:
        return {name: tensor.grad for name, tensor in self._held.items() if tensor.grad is not None}

    def _follow(self, units: Masks) -> None:
        """Set the masks of BatchNorm to those of its channels."""
        for name, key in self.method.granularity.vectors.items():
            self._held_masks[name].copy_(units[key])

    def _snapshot(self) -> Snapshot:
        weights = _detached(self._weights)
        gradients: Tensors = {}
        if self.reads_gradient_at(self.step) and not self.method.dense_gradient:
            # A weight that no gradient has reached (an unused layer) scores zero.
            gradients = {n: self._dense.get(n, torch.zeros_like(weight)) for n, weight in weights.items()}
        state = {name: self._optimizer.state.get(weight, {}) for name, weight in self._weights.items()}
        return Snapshot(
            weights,
            gradients,
            self.step,
            self._seed,
            {name: s[key] for name, s in state.items() for key in MOMENTUM if s.get(key) is not None},
            {name: m.threshold for name, m in self._reparams.items() if isinstance(m, SoftThreshold)},
            self._memory,
        )

    def _update(self) -> None:
        """Prune, then regenerate (fidelity: the order of Algorithm 1)."""
        snapshot, unit = self._snapshot(), self.method.granularity

        def scores(criterion: Criterion) -> Tensors:
            return unit.pool(criterion(snapshot))

        kept = unit.group(self.masks)
        if self._reparams:  # masked values are kept, so all of them are ranked
            kept = {name: torch.ones_like(mask) for name, mask in kept.items()}
        if self._clock.prunes_at(self.step) and (phase := self.method.prune) is not None:
            ranks = scores(phase.criterion)
            kept = prune(kept, ranks, phase.distribution(ranks, kept, self._clock.target(self.step)))
        active = kept
        if self._clock.regenerates_at(self.step) and (phase := self.method.regenerate) is not None:
            ranks, fraction = scores(phase.drop.criterion), self._clock.fraction(self.step)
            counts, self._memory = phase.drop.count(ranks, kept, fraction, self._memory)
            kept = drop(kept, ranks, counts)
            active = grow(kept, scores(phase.grow), phase.reallocate(snapshot, kept, counts))
        for name, mask in unit.expand(active, active, snapshot.weights).items():
            self.masks[name].copy_(mask)
        self._follow(active)
        for name, module in self._reparams.items():
            module.refresh(snapshot.weights[name])
        self._restart()
        # What was dropped and grown again in one update starts from zero like any other grown weight.
        self._project(self._held_masks | unit.expand(kept, active, snapshot.weights))
        self._dense = {}
        if not self.method.dense_gradient and not self._reparams:
            masks_.apply_(self._gradients(), self._held_masks)

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
    def _project(self, kept: Masks) -> None:
        """Zero weights and optimizer state outside ``kept``, and refresh the counts."""
        if not self._reparams:
            masks_.apply_(_detached(self._held), kept)
            for name, tensor in self._held.items():
                for value in self._optimizer.state.get(tensor, {}).values():
                    if (
                        isinstance(value, Tensor)
                        and value.shape == tensor.shape
                        and not self.method.dense_gradient
                    ):
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
        """Everything a resumed run needs: the step, the packed masks with their shapes, and the drop's memory."""
        masks = masks_.pack(self.masks)
        return {"step": self.step, "masks": masks, "shapes": self._shapes, "memory": self._memory}

    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`. Raises UserError where it is of another model."""
        if state["shapes"] != self._shapes:
            odd = sorted({name for name, _ in state["shapes"].items() ^ self._shapes.items()})
            raise UserError(f"masks: this state is of another model; differing tensors: {', '.join(odd[:3])}")
        self.step = state["step"]
        for name, mask in masks_.unpack(state["masks"], self._shapes).items():
            self.masks[name].copy_(mask)
        self._follow(self.method.granularity.group(self.masks))
        self._memory = {
            name: value.to(self._memory[name].device) for name, value in state.get("memory", {}).items()
        }
        self._counts = masks_.num_active(self.masks)


def _detached(tensors: Tensors) -> Tensors:
    return {name: tensor.detach() for name, tensor in tensors.items()}
