"""The learning rate of a run, as a function of the optimizer step."""

from granet.schedules import cosine, linear, one_cycle, piecewise, warmed_up
from granet.training.config import TrainConfig
from granet.types import Schedule


def learning_rate(config: TrainConfig, epoch_steps: int) -> Schedule:
    """Step -> learning rate, by train.lr_schedule; every round starts from the top.

    Steps: the rate is multiplied by a factor at each drop, and the first round warms up while they go on. All others
    begin behind the warm-up, which every round has, and reach train.lr_final at the end of it.
    """
    round_steps = config.total_epochs * epoch_steps
    warm_up = round(config.warmup_epochs * epoch_steps)
    if config.lr_schedule == "steps":
        drops = piecewise(config.lr, [round(d * round_steps) for d in config.lr_drops], config.lr_factor)
        return warmed_up(lambda step: drops(step % round_steps), warm_up)
    if config.lr_schedule == "onecycle":
        cycle = one_cycle(config.lr, config.lr_final, warm_up, round_steps)
        return lambda step: cycle(step % round_steps)
    curve = {"cosine": cosine, "linear": linear}[config.lr_schedule]
    fall = curve(config.lr, config.lr_final, max(1, round_steps - warm_up))
    behind = warmed_up(lambda step: fall(max(0, step - warm_up)), warm_up)
    return lambda step: behind(step % round_steps)
