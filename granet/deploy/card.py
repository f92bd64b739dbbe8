"""A model card: README.md of a folder in the Hugging Face hub's layout, with what was trained, on what, how well."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

MODEL, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""Files of the folder."""
SNIPPET = '''\
import json
import numpy as np
import torch
from safetensors import safe_open


def load(path):
    """Weights by name, dense again, and their masks."""
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
        stored = {name: file.get_tensor(name) for name in file.keys()}
    masks = {}
    for name, shape in json.loads(header["shapes"]).items():
        bits = np.unpackbits(stored.pop("mask:" + name).numpy(), count=int(np.prod(shape)))
        masks[name] = torch.from_numpy(bits.astype(bool)).reshape(shape)
        active = stored.pop("active:" + name)
        stored[name] = torch.zeros(shape, dtype=active.dtype)
        stored[name][masks[name]] = active
    tied = json.loads(header.get("tied", "{}"))
    return stored | {name: stored[same] for name, same in tied.items()}, masks
'''
"""Reads MODEL without granet."""


@dataclass(frozen=True)
class Card:
    """What a stranger asks of a model that he finds. What is not given is said to be unknown.

    ``accuracy``: fractions by name of the measure, of one run or each the mean over ``seeds``. ``license``: a short
    name as the hub has them, such as "mit". ``code``: a digest or revision of the code that trained it. ``notes``: more
    sentences, in Markdown.
    """

    name: str = "A sparse network"
    method: str | None = None
    data: str | None = None
    accuracy: Mapping[str, float | None] = field(default_factory=dict)
    seeds: Sequence[int] = ()
    license: str = "unknown"
    code: str | None = None
    notes: str = ""

    def markdown(self, sparsity: float, num_active: int, num_masked: int, layers: Mapping[str, float]) -> str:
        """The page, its YAML front matter included (every value as JSON, which YAML reads)."""
        known = {name: value for name, value in self.accuracy.items() if value is not None}
        facts = {
            "method": self.method or "unknown",
            "sparsity": f"{sparsity:.2%} ({num_active:,} of {num_masked:,} weights are active)",
            "data": self.data or "unknown",
            **{name.replace("_", " "): f"{value:.2%}" for name, value in known.items()},
            "seeds": ", ".join(map(str, self.seeds)) or "unknown",
            "licence": self.license,
            "code": self.code or "unknown",
        }
        rows = [f"| {_cell(name)} | {_cell(value)} |" for name, value in facts.items()]
        layer_rows = [f"| `{_cell(name)}` | {share:.2%} |" for name, share in layers.items()]
        front = [f"{key}: {json.dumps(value)}" for key, value in self._front(known).items()]
        return "\n".join(
            [
                *["---", *front, "---", "", f"# {_line(self.name)}", "", "| | |", "|---|---|", *rows, ""],
                *([self.notes, ""] if self.notes else []),
                f"`{MODEL}` holds the active weights and a bit for every position; nothing is rounded. With "
                "the Python package granet it is read by",
                *["", "```python", "import granet", "", 'sparse = granet.load_sparse("FOLDER")'],
                *["model.load_state_dict(sparse.weights)", "```", ""],
                f'and without it by `weights, masks = load("FOLDER/{MODEL}")`, with',
                *["", "```python", f"{SNIPPET}```", "", "## Sparsity by layer"],
                *(["| weight | sparsity |", "|---|---|", *layer_rows] if layers else ["Nothing is masked."]),
                "",
            ]
        )

    def _front(self, accuracy: Mapping[str, float]) -> dict[str, Any]:
        """What the hub reads."""
        data = {"name": self.data, "type": self.data}
        metrics = [{"type": "accuracy", "name": name, "value": value} for name, value in accuracy.items()]
        result = {"task": {"type": "other"}, "dataset": data, "metrics": metrics}
        index = {"model-index": [{"name": self.name, "results": [result]}]} if self.data and metrics else {}
        datasets = {"datasets": [self.data]} if self.data else {}
        tags = ["sparse", "pruning", "granet", *([self.method] if self.method else [])]
        return {"license": self.license, "library_name": "granet", "tags": tags} | datasets | index


def _line(text: str) -> str:
    return " ".join(str(text).split())


def _cell(text: str) -> str:
    return _line(text).replace("|", r"\|")
