"""granet.data.config: sizes that make no sense are refused before any work, in one line."""

import re

import pytest

from granet.data import DataConfig
from granet.types import UserError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train_size": 0}, "data.train_size=0 must be at least 1"),
        ({"val_size": -1}, "data.val_size=-1 must be at least 0"),
        ({"test_size": 0}, "data.test_size=0 must be at least 1"),
        ({"image_size": 15}, "data.image_size=15 must be in [16, 4096]"),
        ({"image_size": 4097}, "data.image_size=4097 must be in [16, 4096]"),
        ({"max_side": 0}, "data.max_side=0 must be in [1, 4096]"),
        ({"jpeg_quality": 101}, "data.jpeg_quality=101 must be in [1, 100]"),
        ({"raw_share": 1.5}, "data.raw_share=1.5 must be in [0, 1]"),
        ({"loader": "dali"}, "data.loader='dali' must be ffcv, resident or auto"),
        ({"num_workers": -1}, "data.num_workers=-1 must be at least 0"),
    ],
)
def test_bad_values_are_refused_by_name(values, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        DataConfig(**values)
    assert "\n" not in str(error.value)
