"""A mask that stays: retraining."""

from pathlib import Path

from granet.inits.stored import load_masks
from granet.method import Method
from granet.types import Masks


def fixed(masks: Masks | str | Path) -> Method:
    """Keep these masks for the whole run: retraining (Sections 4.6 and 4.7 of GraNet).

    ``masks``: by weight, or a file that holds some (`granet.save_masks`, a run's, a sparse artefact's).
    """
    given = load_masks(masks) if isinstance(masks, str | Path) else masks
    return Method("before_training", init=lambda context: given)
