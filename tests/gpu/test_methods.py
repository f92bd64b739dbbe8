"""Every method trains on a GPU through all its updates, and prunes there as on the CPU."""

import pytest

from tests.granet import test_methods as methods
from tests.helpers.needs import GPU, needs_gpus
from tests.helpers.on_device import train_on

pytestmark = [pytest.mark.gpu, needs_gpus(1)]


@pytest.mark.parametrize("name", methods.TABLE)
def test_every_method_updates_its_masks_on_the_gpu(name):
    _, sparsifier = train_on(GPU, name)
    model, optimizer, here = methods.make(name)
    methods.train(model, optimizer, here, range(methods.STEPS))
    counts = sparsifier.num_active
    assert counts.keys() == here.num_active.keys()
    assert sum(counts.values()) == pytest.approx(sum(here.num_active.values()), rel=0.02, abs=1)
