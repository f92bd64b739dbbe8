"""From image files to batches on the training device: sources -> prepare -> .beton -> loaders -> augment."""

from granet.data.augment import Augment, epoch_generator
from granet.data.jpeg import Packing
from granet.data.loaders import LOADERS, Loader, build_loader
from granet.data.prepare import prepare
from granet.data.prepared import Data, open_data
from granet.data.sources import DATASETS, Dataset

__all__ = [
    "DATASETS",
    "LOADERS",
    "Augment",
    "Data",
    "Dataset",
    "Loader",
    "Packing",
    "build_loader",
    "epoch_generator",
    "open_data",
    "prepare",
]
