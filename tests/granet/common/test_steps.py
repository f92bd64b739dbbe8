import pytest

from granet.common.steps import last_multiple, parse_time
from granet.types import UserError


@pytest.mark.parametrize(
    ("text", "steps"), [("110ep", 38720), ("0.5ep", 176), ("2000it", 2000), (" 0it ", 0)]
)
def test_epochs_and_steps_cannot_be_confused(text, steps):
    assert parse_time(text, steps_per_epoch=352, key="tf") == steps


@pytest.mark.parametrize("text", ["110", "1.5it", "ep", "-3ep", "10 epochs", ""])
def test_anything_else_is_refused_by_name(text):
    with pytest.raises(UserError, match=r"granet\.tf="):
        parse_time(text, steps_per_epoch=352, key="granet.tf")


def test_last_multiple():
    assert [last_multiple(t, 1000) for t in (999, 1000, 38720)] == [0, 1000, 38000]
