"""A run that compiles nothing does not import torch's compiler, and one that asks for it gets it."""

import subprocess
import sys

STEP = """
import inspect
import sys
import torch
from pipeline.training.compiler import defer_compiler
defer_compiler()
from granet.models import build
model = build("resnet20", num_classes=10)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
optimizer.zero_grad()
model(torch.ones(2, 3, 32, 32)).sum().backward()
optimizer.step()
inspect.stack()  # asks every module for its file
slow = [name for name in ("torch._dynamo.utils", "sympy", "torchvision", "matplotlib", "mlflow") if name in sys.modules]
assert not slow, slow
"""
COMPILE = """
layer = torch.nn.Linear(3, 2)
images = torch.ones(5, 3)
torch.testing.assert_close(torch.compile(layer, backend="eager")(images), layer(images))
import torch._dynamo.config
assert "sympy" in sys.modules
optimizer.step()
defer_compiler()
assert type(sys.modules["torch._dynamo"]).__name__ == "module"
"""


def python(script: str) -> None:
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_step_of_resnet20_imports_nothing_slow():
    python(STEP)


def test_the_compiler_comes_when_it_is_used():
    python(STEP + COMPILE)
