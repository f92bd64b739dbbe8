"""The one mutable object: it holds the masks and applies a `Method` to a model and its optimizer in place."""

import warnings
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from granet import masks as masks_
from granet.common.optimizers import detached, gradients_of, learning_rates, running_means, unwrapped
from granet.maskable import Choice, Selectors
from granet.method import Method
from granet.projection import above_threshold, bake, learns_threshold, thresholds
from granet.sparsifier.channels import channels_of, cut_, put_back_
from granet.sparsifier.clock import Clock
from granet.sparsifier.dense_gradients import DenseGradients
from granet.sparsifier.held import Held
from granet.sparsifier.mask_update import last_pruning, mask_update
from granet.sparsifier.restarts import Restarts
from granet.sparsifier.start import start
from granet.sparsifier.tally import Tally
from granet.sparsifier.undo import Undo
from granet.sparsifier.watch import Watch
from granet.types import Batches, Counts, InitContext, Loss, Masks, Snapshot, Tensors, UserError


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

    ``include``, ``exclude`` and ``dense`` choose which layers are masked (`granet.maskable.Choice`; else all that
    multiply by a matrix). ``layer_sparsity`` gives layers, by name or pattern, their own final sparsity, for which the
    others make up. An update that grows by gradient goes by the mean one of ``gradient_steps`` steps (SRigL, Lasby et
    al. 2024); accumulated gradients are those of one step.

    ``batches`` gives training inputs and labels to methods that choose their masks from data (SNIP, FORCE, GraSP,
    SynFlow, OBD, SIS): an iterable, as a DataLoader, or a function that returns one. ``loss`` is what those
    differentiate, of outputs and labels. ``rewind_to`` is the state_dict that a method with rounds goes back to (IMP):
    a copy, made before training, unless it is a step of the run. After the last step, `finish` makes a model whose
    method changes the forward (STR, DPF, SR-STE, Top-KAST, original GMP) an ordinary one again.

    To resume, load the states of model, optimizer and Sparsifier, before or after the Sparsifier is built (before, not
    where the forward is changed: the model has other names then). `masks` may be edited in place between two steps.

    After the steps of an optimizer that is not known to be element-wise, weights and same-shaped state are projected
    onto the masks; a turn of the loop without an optimizer step, as where a scaler skips it, does not count.

    Raises UserError for a model without a layer to mask, or one whose weights are computed; for an optimizer that does
    not hold every maskable weight; and for a loop that calls in another order. Dense training, which has no masks, goes
    with all of them.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        method: Method,
        *,
        seed: int,
        total_steps: int,
        batches: Batches | None = None,
        loss: Loss = cross_entropy,
        rewind_to: Mapping[str, Tensor] | None = None,
        include: Selectors = (),
        exclude: Selectors = (),
        dense: str | Iterable[str] = (),
        layer_sparsity: Mapping[str, float] | None = None,
        gradient_steps: int = 1,
    ) -> None:
        choice = Choice.made(include, exclude, dense)
        self.step = 0
        self.num_skipped = 0
        """Updates that were left out because a gradient or a score was not finite."""
        self._model = model
        self._optimizer = optimizer = unwrapped(optimizer)
        self._seed = seed
        self._dense = DenseGradients()
        context = InitContext(model, {}, seed, batches, loss)
        self.method, self._weights, self.masks = start(method, optimizer, context, choice, layer_sparsity)
        self._clock = Clock(self.method, total_steps, gradient_steps)
        self._shapes = masks_.shapes(self._weights)
        self._channels = channels_of(method.channels, model, self._weights)
        vectors = {**method.granularity.vectors, **self._channels.unit.vectors}
        self._held = Held(model, optimizer, self._weights, self.masks, vectors)
        self._follow(method.granularity.group(self.masks))
        self._memory = phase.drop.remember(detached(self._weights)) if (phase := method.regenerate) else {}
        self._parametrized = method.projection.attach(model, optimizer, self._weights, self.masks)
        own = self._weights if not self._parametrized else {}
        self._watch = Watch(model, optimizer, choice, own) if self.masks else None
        self._tally = Tally(self.masks)
        self._undo: Undo | None = Undo(self._touched(), optimizer)
        self.restarts = Restarts(self.method, model, optimizer, rewind_to, self._weights, self.masks)
        self._clear(self._held.masks)
        self._undo.changed()

    def updates_at(self, step: int) -> bool:
        """Whether the masks change after optimizer step ``step`` (counted from 1)."""
        return self._clock.updates_at(step)

    def reads_gradient_at(self, step: int) -> bool:
        """Whether ``step`` or the update after it needs gradients of inactive weights (they cost FLOPs)."""
        return self._clock.reads_gradient_at(step)

    def inactive_gradients_at(self, step: int) -> float:
        """Of how many inactive weights that is, for each active one: inf of all, the dense gradient."""
        return self._clock.inactive_gradients_at(step)

    @property
    def last_pruning_step(self) -> int:
        """The step from which on the sparsity is final; 0 where it never changes."""
        return self._clock.last_pruning_step

    def after_backward(self) -> None:
        """Project the gradient onto the masks; where an update will read the dense one, a copy is kept for it.

        Clip after it: before it, the norm is the dense gradient's. With accumulated gradients, call it after every part
        or the last. What adds gradients to weights (MEST, SR-STE, Top-KAST) needs ``scaler.unscale_(optimizer)`` first.
        """
        gradients = self._held.gradients
        if self._watch is not None:
            self._watch.after_backward(any_gradient=bool(gradients))
        self._follow_edits()
        if self._undo is not None:  # training begins, and no state was loaded
            self._undo = None
            self._tally.warn_of_empty(self.step, stacklevel=3)
        if self._clock.keeps_gradient_at(self.step + 1):
            self._dense.keep(gradients, self.masks, projects=self.method.projection.projects_gradient)
        self.method.projection.backward_(gradients, self._held.masks)
        self.method.projection.before_step_(self._weights, self._parametrized, self._optimizer)

    @torch.no_grad()
    def after_step(self) -> None:
        """Count the optimizer step, and update the masks where one is due."""
        self.method.projection.after_step_(self._weights, self._parametrized)
        if self._watch is not None and not self._watch.after_step():
            self._dense.forget_broken(gradients_of(self._optimizer))
            return
        self.step += 1
        if self.method.langevin is not None:
            weights, lr = detached(self._weights), learning_rates(self._optimizer, self._weights)
            self.method.langevin.move_(weights, self.masks, lr, seed=self._seed, step=self.step)
        if self._watch is not None and self._watch.may_have_moved:
            self._held.clear_(self.method.projection, self._held.masks)
        if self.updates_at(self.step):
            self._update()
        else:
            self._dense.end_step()
            self.method.projection.step_(detached(self._held.tensors), self._held.masks)
        self.restarts.after_step(self.step)

    def mask_(self, copy: nn.Module | Tensors) -> None:
        """Zero the masked weights of a copy, a module or tensors by name: an average is as dense as all its masks."""
        self._held.mask_(copy)

    @torch.no_grad()
    def shrink(self, state: dict | None = None) -> None:
        """Cut the channels that the method has removed out of model, optimizer and masks, in place, between two steps.

        What is left computes the same, faster; `finish` puts them back as zeros. To resume a run that was shrunk, call
        it with the Sparsifier's state before any state is loaded. Methods that remove no channels have nothing to cut.
        """
        smaller = self._channels.at(state) if state else self._channels.shrunk()
        cut_(self._model, self._optimizer, self._held.masks, self._channels, smaller)
        self._channels = smaller

    @torch.no_grad()
    def finish(self) -> None:
        """After training: leave an ordinary model, whose weights are what its forward used, and masks of its zeros."""
        bake(self._model, list(self._parametrized))
        for name in self._parametrized:
            self.masks[name].logical_and_(self._weights[name] != 0)
        self._parametrized = {}
        self._channels = put_back_(self._model, self._optimizer, self._held.masks, self._channels)

    def _follow(self, units: Masks) -> None:
        """Set the masks of BatchNorm to those of its channels."""
        self._held.follow(units | self._channels.alive)

    def _snapshot(self) -> Snapshot:
        weights, gradients = detached(self._weights), Tensors()
        if self._clock.ranks_gradient_at(self.step):
            gradients = self._dense.read(weights)
        means = running_means(self._optimizer, self._weights)
        held = (means, thresholds(self._parametrized), self._memory, self.masks)
        return Snapshot(weights, gradients, self.step, self._seed, *held, self.step / self._clock.total_steps)

    def _update(self) -> None:
        snapshot, unit = self._snapshot(), self.method.granularity
        self._dense.clear()
        given = (self.method, self._clock, self.masks, snapshot, self._channels)
        if (update := mask_update(*given)) is None:
            self._skip()
            if (update := last_pruning(*given)) is None:
                return
        self._memory, self._channels = update.memory, update.channels
        masks = unit.expand(update.active, update.active, snapshot.weights)
        self.restarts.prune(snapshot.weights, self.masks, masks)
        for name, mask in masks.items():
            self.masks[name].copy_(mask)
        self._follow(update.active)
        for name, module in self._parametrized.items():
            module.refresh(snapshot.weights[name])
        self.restarts.restart("lr" if self._clock.opens_at(self.step) else self.method.restart)
        # What was pruned or dropped and grown again in one update starts from zero like any other grown weight.
        self._clear(self._held.masks | unit.expand(update.kept, update.active, snapshot.weights))
        self._tally.warn_of_empty(self.step, stacklevel=5)
        self.method.projection.backward_(self._held.gradients, self._held.masks)

    def _skip(self) -> None:
        """Leave masks and counts as they are: NaN and infinity rank nothing. What they have reached is zeroed."""
        if self.num_skipped == 0:
            warnings.warn(
                f"step {self.step}: a gradient or a weight is not finite, so this mask update is skipped, as all such "
                "will be, but for the last pruning where weights allow it; Sparsifier.num_skipped counts them",
                stacklevel=3,
            )
        self.num_skipped += 1
        self._held.wipe_(self.method.projection)

    def _touched(self) -> list[Tensor]:
        """What building this changes."""
        if self.method.restart is not None:
            return list(self._model.state_dict().values())
        return [] if self.method.projection.keeps_values else list(detached(self._held.tensors).values())

    @torch.no_grad()
    def _clear(self, kept: Masks) -> None:
        """Zero what the projection wants at zero outside ``kept``, and refresh the counts."""
        self._held.clear_(self.method.projection, kept)
        self._tally.count(above_threshold(self._parametrized, self._weights))

    def _follow_edits(self) -> None:
        """Masks may be edited in place: weights and counts follow."""
        if self._tally.is_stale():
            self._follow(self.method.granularity.group(self.masks))
            self._clear(self._held.masks)
            self._tally.warn_of_empty(self.step, stacklevel=4)

    @property
    def num_active(self) -> Counts:
        """Active weights per tensor."""
        self._follow_edits()
        if learns_threshold(self.method.projection):
            self._tally.count(above_threshold(self._parametrized, self._weights))
        return dict(self._tally.counts)

    @property
    def sparsity(self) -> float:
        """Share of all maskable weights that is inactive, in [0, 1]; 0 for dense training."""
        return masks_.sparsity(self.num_active, self._shapes)

    @property
    def layer_sparsity(self) -> dict[str, float]:
        """The same per tensor; empty for dense training."""
        return masks_.layer_sparsity(self.num_active, self._shapes)

    def state_dict(self) -> dict:
        """Everything a resumed run needs: the step, the packed masks with their shapes, and the drop's memory."""
        state = {"step": self.step, "num_skipped": self.num_skipped, "memory": self._memory}
        state |= {"masks": masks_.pack(self.masks), "shapes": masks_.shapes(self.masks)}
        state |= {"channels": self._channels.state_dict()} | self._dense.state_dict()
        return state | self.restarts.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Continue from `state_dict`. Raises UserError where it is of another model or method."""
        shapes, memory = masks_.shapes(self.masks), state.get("memory", {})
        if state["shapes"] != shapes:
            odd = sorted({name for name, _ in state["shapes"].items() ^ shapes.items()})
            raise UserError(f"masks: this state is of another model; differing tensors: {', '.join(odd[:3])}")
        if odd := sorted(memory.keys() ^ self._memory.keys()):
            raise UserError(f"memory: this state is of another method; only one of them remembers {odd[0]}")
        if self._undo is not None:
            self._undo.restore()
            self._undo = None
        self.step = state["step"]
        self.num_skipped = state.get("num_skipped", 0)
        for name, mask in masks_.unpack(state["masks"], shapes).items():
            self.masks[name].copy_(mask)
        self._channels = self._channels.at(state)
        self._follow(self.method.granularity.group(self.masks))
        self._memory = {name: value.to(self._memory[name].device) for name, value in memory.items()}
        self._dense.load_state_dict(state, self._weights)
        self.restarts.load_state_dict(state)
        self._clear(self._held.masks)
        self._tally.know_empty()
