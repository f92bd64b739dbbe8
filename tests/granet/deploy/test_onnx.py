"""An ONNX file computes what the network computes, and is the same on every machine."""

import pytest
import torch
from torch import nn

from granet.deploy import onnx
from granet.deploy.onnx import onnx_outputs, to_onnx
from granet.deploy.shrink import shrink
from granet.types import UserError
from tests.helpers.networks import IMAGE, assert_close, half, prune_filters, small_net, trained_like


@pytest.mark.parametrize("name", ["resnet20", "vgg19"])
def test_onnx_file_computes_what_the_network_computes(name, tmp_path, capfd):
    model = trained_like(name)
    smaller = shrink(model, prune_filters(model, half(model))).train()
    path = tmp_path / "new" / "model.onnx"
    to_onnx(smaller, path, IMAGE)
    assert smaller.training
    smaller.eval()
    for batch_size in (1, 5):  # any other than the one that was traced
        images = torch.randn(batch_size, *IMAGE)
        with torch.no_grad():
            assert_close(onnx_outputs(path, images), smaller(images))
    assert capfd.readouterr() == ("", "")
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]


def test_onnx_file_is_the_same_every_time_and_names_no_file_of_this_machine(tmp_path):
    contents = []
    for i in range(2):
        to_onnx(trained_like("resnet20"), tmp_path / f"{i}.onnx", IMAGE)
        contents.append((tmp_path / f"{i}.onnx").read_bytes())
    assert contents[0] == contents[1]
    assert b".py" not in contents[0]


@pytest.mark.parametrize("missing", onnx.ONNX_PACKAGES)
def test_a_missing_package_is_one_line(missing, monkeypatch, tmp_path):
    monkeypatch.setattr(onnx, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(UserError, match=f"^ONNX files need the package {missing}; run: pip install .*$"):
        to_onnx(small_net(nn.BatchNorm2d(4)), tmp_path / "model.onnx", IMAGE)
