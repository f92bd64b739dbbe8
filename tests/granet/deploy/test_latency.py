"""Latencies of networks, side by side."""

from granet.deploy.latency import latencies
from granet.models import build
from tests.helpers.networks import IMAGE


def test_latencies_tell_a_large_network_from_a_small_one():
    large, small = build("resnet20", num_classes=10, width=64), build("resnet20", num_classes=10, width=8)
    slow, fast = latencies([large, small], IMAGE, 4, time_s=0.2)
    assert 0 < fast < slow < 10
    assert large.training and small.training
