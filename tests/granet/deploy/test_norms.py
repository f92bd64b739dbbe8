"""BatchNorm goes into a convolution where that changes nothing else."""

import pytest
import torch
from torch import Tensor, nn

from granet.deploy.norms import fold_norms
from tests.helpers.networks import IMAGE, assert_close, trained_like


@pytest.mark.parametrize("name", ["vgg19", "resnet20"])
def test_no_norm_is_left_and_outputs_are_the_same(name):
    model = trained_like(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded = fold_norms(model)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    images = torch.randn(2, *IMAGE)
    with torch.no_grad():
        assert_close(folded(images), model(images))
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())


class Several(nn.Module):
    """What cannot be folded: a norm of two convolutions, a norm by each batch, an output that another call reads."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.shared, self.read, self.last = (nn.BatchNorm2d(3) for _ in range(3))
        self.by_batch = nn.BatchNorm2d(3, track_running_stats=False)
        for value in self.parameters():
            nn.init.normal_(value)

    def forward(self, x: Tensor) -> Tensor:
        x = self.by_batch(self.b(self.shared(self.a(x))))
        x = self.shared(self.d(x))
        y = self.c(x)
        return self.last(torch.relu(self.read(y) + y))


def test_what_cannot_be_folded_stays():
    torch.manual_seed(0)
    model = Several().eval()
    folded = fold_norms(model)
    assert [type(module) for module in folded.children()] == [type(module) for module in model.children()]
    images = torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        assert torch.equal(folded(images), model(images))
