"""A short run, of one process or of several under torchrun: python parallel_fit.py PREPARED OUT [key=value ...]

``device`` is train.device; the CPU where nothing is said. Writes OUT/model.pt, OUT/history.csv and, for every mask
update and the end, the masks' hashes (OUT/masks-RANK.json). Of a run that diverges every process writes its line
(OUT/diverged-RANK).
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from granet import METHODS
from granet.common import distributed
from granet.data import open_data
from granet.models import build
from granet.training import loop
from granet.training.config import TrainConfig
from granet.training.device import pick_device
from granet.training.run import prepare_run
from granet.types import DivergedError


def main(prepared: str, out: Path, options: dict) -> None:
    name = options.pop("method", "granet")
    method = METHODS[name](sf=0.9, **({"update_interval": 5} if name == "granet" else {}))
    kill, spoil, elsewhere, overflow = (
        options.pop(key, None) for key in ("kill", "spoil", "elsewhere", "overflow")
    )
    where = options.pop("device", "cpu")
    loader, doubt = options.pop("loader", "resident"), options.pop("doubt", False)
    config = TrainConfig(**{"epochs": 10, "batch_size": 40, "precision": "fp32", "lr": 0.05} | options)
    with distributed.joined(where) as world:
        device = pick_device(where)
        data = open_data(
            Path(prepared),
            loader=loader,
            batch_size=config.batch_size,
            seed=0,
            device=device,
        )
        if doubt and (init := method.init):  # as scores would that differ among processes
            method = replace(method, init=lambda given: init(replace(given, seed=given.seed + world.rank)))
        torch.manual_seed(0)
        model = build("resnet20", num_classes=data.num_classes, width=8)
        run = prepare_run("test", model, method, data, config, seed=0, device=device)
        updates, sparsifier = [], run.sparsifier
        check = distributed.check_masks

        def record(masks) -> None:
            if spoil and world.rank == 1 and sparsifier.step == spoil:
                masks["layer1.0.conv1.weight"][0, 0, 0, 0] ^= True
            updates.append([distributed._hash(mask) for mask in masks.values()])
            check(masks)

        def backward(run, *batch):  # the loss of one process is infinite in a step, and no gradient is
            loss, logits = gradients(run, *batch)
            infinite = overflow and world.rank == 1 and sparsifier.step + 1 == overflow
            return loss * torch.inf if infinite else loss, logits

        def on_epoch(row) -> None:
            if kill and world.rank == 1 and row["epoch"] == kill:
                os.kill(os.getpid(), signal.SIGKILL)

        distributed.check_masks = record
        gradients, loop.backward = loop.backward, backward
        out.mkdir(parents=True, exist_ok=True)
        state_folder = out / "elsewhere" if elsewhere and world.rank == 1 else out
        paths = {"history_csv": out / "history.csv", "checkpoint_path": state_folder / "last.pt"}
        try:
            loop.fit(run, on_epoch=on_epoch, **paths)
        except DivergedError as error:
            (out / f"diverged-{world.rank}").write_text(str(error))
            return
        updates.append([distributed._hash(mask) for mask in sparsifier.masks.values()])
        (out / f"masks-{world.rank}.json").write_text(json.dumps(updates))
        if world.leads:
            torch.save(run.model.state_dict(), out / "model.pt")


if __name__ == "__main__":
    texts = dict(text.split("=", 1) for text in sys.argv[3:])
    values = {k: v if k in ("method", "loader", "device") else json.loads(v) for k, v in texts.items()}
    main(sys.argv[1], Path(sys.argv[2]), values)
