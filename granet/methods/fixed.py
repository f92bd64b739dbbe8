"""A mask that stays: retraining."""

from granet.method import Method
from granet.types import Masks


def fixed(masks: Masks) -> Method:
    """Keep these masks for the whole run: retraining (Sections 4.6 and 4.7 of GraNet)."""
    return Method("before_training", init=lambda context: masks)
