"""From image files to batches on the training device: sources -> prepare -> .beton -> loaders -> augment."""

from granet.data.augment import Augment
from granet.data.config import LOADERS, DataConfig
from granet.data.datasets import DATASETS, Dataset
from granet.data.loaders import Loader, build_loader
from granet.data.prepare import prepare
from granet.data.prepared import Data, open_data

__all__ = [
    "DATASETS",
    "LOADERS",
    "Augment",
    "Data",
    "DataConfig",
    "Dataset",
    "Loader",
    "build_loader",
    "open_data",
    "prepare",
]
