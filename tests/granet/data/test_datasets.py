"""granet.data.datasets: the table of data sets."""

from granet.data.datasets import DATASETS


def test_rows_are_keyed_by_name_and_their_held_out_images_exist() -> None:
    for name, row in DATASETS.items():
        assert row.name == name and row.val_size < (row.num_train or 1)
