"""The learning rate of every step of a run."""

from functools import lru_cache

from granet.schedules import Original, cosine, linear, one_cycle, piecewise, warmed_up
from granet.sparsifier import Sparsifier
from granet.training.config import TrainConfig
from granet.training.rounds import Rounds
from granet.types import Schedule


def curve(config: TrainConfig, num_steps: int, warm_up: int) -> Schedule:
    """The rate over ``num_steps`` steps, by train.lr_schedule, which begins with ``warm_up`` steps up to train.lr.

    In steps, it is multiplied by a factor at each drop, and the warm-up is a factor as well. All others begin behind
    the warm-up, and reach train.lr_final at the end.
    """
    if config.lr_schedule == "steps":
        drops = [round(drop * num_steps) for drop in config.lr_drops]
        return warmed_up(piecewise(config.lr, drops, config.lr_factor), warm_up)
    if config.lr_schedule == "onecycle":
        return one_cycle(config.lr, config.lr_final, warm_up, num_steps)
    shape = {"cosine": cosine, "linear": linear}[config.lr_schedule]
    fall = shape(config.lr, config.lr_final, max(1, num_steps - warm_up))
    return warmed_up(lambda step: fall(max(0, step - warm_up)), warm_up)


def learning_rate(config: TrainConfig, epoch_steps: int) -> Schedule:
    """The rate of a run: every round starts from the top; where lr falls in steps, the first alone warms up."""
    round_steps, warm_up = config.total_epochs * epoch_steps, round(config.warmup_epochs * epoch_steps)
    first = curve(config, round_steps, warm_up)
    later = curve(config, round_steps, 0 if config.lr_schedule == "steps" else warm_up)
    return lambda step: (first if step < round_steps else later)(step % round_steps)


def rate_by_round(config: TrainConfig, rounds: Rounds, sparsifier: Sparsifier) -> Schedule:
    """The rate of a run whose rounds may begin at a place of the schedule, or retrain at what is made of it."""
    method, epoch_steps = sparsifier.method, rounds.epoch_steps
    if method.retrain is None and not isinstance(method.restart, int):
        return learning_rate(config, epoch_steps)
    num_steps, warm_up = config.total_epochs * epoch_steps, round(config.warmup_epochs * epoch_steps)
    whole = curve(config, num_steps, warm_up)
    if (retrain := method.retrain) is None:
        return lambda step: whole(rounds.place(step))
    original = Original(whole, num_steps, warm_up)
    after = lru_cache(lambda damage: retrain.schedule(original, rounds.first, damage))
    return lambda step: after(sparsifier.restarts.damage)(rounds.place(step))
