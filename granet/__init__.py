"""GraNet: sparse-training methods in PyTorch, built from schedules, distributions, criteria and granularities."""

from granet.deploy.artefact import SparseModel, load_sparse, save_sparse
from granet.deploy.card import Card
from granet.inits.stored import load_masks, save_masks
from granet.method import Method
from granet.methods import METHODS
from granet.sparsifier import Sparsifier
from granet.training.recalibration import recalibrate
from granet.training.soup import soup
from granet.types import UserError

__version__ = "0.1.0"
__all__ = [
    "METHODS",
    "Card",
    "Method",
    "SparseModel",
    "Sparsifier",
    "UserError",
    "load_masks",
    "load_sparse",
    "recalibrate",
    "save_masks",
    "save_sparse",
    "soup",
]
