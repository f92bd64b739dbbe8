"""One run on several GPUs, by NCCL; and what of that one GPU can show."""

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from granet.common import distributed
from tests.granet.common.test_distributed import fit, masks, weights
from tests.helpers.needs import GPU, needs_gpus

pytestmark = pytest.mark.gpu


@needs_gpus(1)
@pytest.mark.parametrize("sync_bn", [False, True])
def test_a_group_of_one_by_nccl_computes_what_no_group_does(tmp_path, monkeypatch, sync_bn):
    def net() -> nn.Module:
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Softplus(), nn.Flatten(), nn.Linear(8 * 36, 10)
        return nn.Sequential(*layers).to(GPU)

    def gradients(model: nn.Module) -> list[torch.Tensor]:
        images, labels = (
            torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1)),
            torch.arange(16) % 10,
        )
        nn.functional.cross_entropy(model(images.to(GPU)), labels.to(GPU)).backward()
        return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]

    alone = gradients(net())
    torch.cuda.set_device(GPU)
    torch.distributed.init_process_group("nccl", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        monkeypatch.setattr(distributed, "world", lambda: distributed.World(0, 2))  # as if there were others
        model = distributed.spread(net(), sync_bn=sync_bn)
        assert isinstance(model, DistributedDataParallel)
        for shared, own in zip(gradients(model), alone, strict=True):
            torch.testing.assert_close(shared, own, rtol=1e-3, atol=1e-5)
        distributed.share_buffers(model)
        distributed.check_masks({"weight": torch.ones(3, dtype=torch.bool, device=GPU)})
        assert distributed.same(3, GPU) and distributed.told("x") == "x"
    finally:
        torch.distributed.destroy_process_group()


@needs_gpus(2)
@pytest.mark.parametrize("method", ["granet", "snip"])
def test_two_gpus_train_as_one_does_and_have_the_same_masks(digits, tmp_path, method):
    """The one takes its batch in two parts, so that BatchNorm sees the same images together."""
    one, two = tmp_path / "one", tmp_path / "two"
    fit(digits, one, "micro_batch=20", "epochs=2", f"method={method}", "device=cuda")
    fit(digits, two, "epochs=2", f"method={method}", "device=cuda", processes=2)
    assert masks(two, 0) == masks(two, 1) and len(masks(one)) == len(masks(two, 0))
    assert_alike(weights(one), weights(two))


@needs_gpus(2)
def test_sync_bn_normalises_by_the_whole_batch(digits, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    fit(digits, one, "epochs=1", "device=cuda")
    fit(digits, two, "epochs=1", "sync_bn=true", "device=cuda", processes=2)
    assert masks(two, 0) == masks(two, 1)
    assert_alike(weights(one), weights(two))


@needs_gpus(2)
def test_two_gpus_stop_at_the_same_step_where_one_diverges(digits, tmp_path):
    fit(digits, tmp_path, "epochs=3", "overflow=8", "device=cuda", processes=2)
    first, second = ((tmp_path / f"diverged-{rank}").read_text() for rank in range(2))
    assert first == second and "(step 8, " in first


def assert_alike(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    """But for rounding, which training enlarges."""
    for name, value in first.items():
        assert float((value - second[name]).norm()) == pytest.approx(
            0, abs=0.05 * float(value.norm()) + 1e-4
        ), name
