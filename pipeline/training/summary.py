"""summary.json of a training run: what it was, knew and reached."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from granet.masks import empty_layers

Name = Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
"""Of a folder, and no way out of the one that it is in."""
Size = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Summary:
    """summary.json of a training run: what it was, knew and reached. Sparsities and accuracies are fractions.

    ``config``: the cell's keys and the sections of params.yaml it was made with. ``flops``: "inference" of one image,
    "training" of the run, and both of the dense network. ``num_images`` by split, ``image_shape`` (C, H, W).
    ``environment``: hardware, precision, versions, git revision, md5 of the data and digest of the code.
    """

    name: Name
    config: dict[str, Any]
    accuracy: dict[str, float | None]
    sparsity: float
    layer_sparsity: dict[str, float]
    flops: dict[str, int]
    num_images: dict[str, int]
    image_shape: tuple[Size, Size, Size]
    num_classes: Size
    epochs: int
    final_sparsity_epoch: int
    time_s: float
    environment: dict[str, str]
    tracking: dict[str, str | None]

    @property
    def empty_layers(self) -> list[str]:
        """Layers that have lost all their connections."""
        return empty_layers(self.layer_sparsity)


_SUMMARY = TypeAdapter(Summary)
PARTS = {
    "config": ("stage", "dataset", "model", "seed"),
    "accuracy": ("test_accuracy_last", "test_accuracy_best_val", "test_accuracy_best_test"),
    "flops": ("inference", "inference_dense", "training", "training_dense"),
    "environment": ("hardware", "precision", "torch", "git_revision", "git_dirty", "code", "data_md5"),
    "tracking": ("experiment", "run_id"),
}
"""What readers look for in the parts of a summary."""


def parse(values: dict[str, Any]) -> Summary:
    """A summary as it stands in its file. Raises ValueError: "no flops.training", "a bad epochs (...)"."""
    try:
        summary = _SUMMARY.validate_python(values)
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        raise ValueError(
            f"no {name}" if fault["type"] == "missing" else f"a bad {name} ({fault['msg']})"
        ) from None
    for part, names in PARTS.items():
        for name in names:
            if name not in getattr(summary, part):
                raise ValueError(f"no {part}.{name}")
    if not str(summary.config["stage"]).isidentifier():  # it names a folder, too
        raise ValueError(f"a bad config.stage ({summary.config['stage']!r})")
    return summary
