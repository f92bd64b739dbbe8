"""What stands around the results: the first lines, the note on the paper, the protocol and the list of runs."""

from functools import cache
from pathlib import Path

from pandas import DataFrame

from pipeline.params.files import read_yaml
from pipeline.report.blocks import Fold, Runs, Section, Text
from pipeline.report.paper.protocol import protocol
from pipeline.report.provenance import departures, facts, how_to_open, images, run_groups
from pipeline.report.results import Results, once
from pipeline.report.words import DATASET_NAMES, MODEL_NAMES, counted, listed
from pipeline.workspace import tracking_uri

FEW = 6
"""As many runs are named in a sentence."""


@cache
def _sentences() -> dict[str, str]:
    return read_yaml(Path(__file__).with_name("sentences.yaml"))


def say(*names: str, **values: object) -> str:
    """Sentences of sentences.yaml one after the other, with their {values} filled in."""
    return " ".join(_sentences()[name].format(**values) for name in names)


def is_study(results: Results) -> bool:
    """Whether the grid has nothing but the plasticity study."""
    grid = results.params.grid
    return bool(grid.pretrain) and not (grid.methods or grid.after or grid.chains)


def opening(results: Results) -> list[Text | Fold]:
    """What was trained, how to read the numbers, and which runs of the grid are not there."""
    train, grid, runs = results.params.train, results.params.grid, results.runs
    models = ", ".join(MODEL_NAMES.get(model, model) for model in grid.models)
    what = (
        f"Pruning plasticity of {models}:"
        if is_study(results)
        else f"Test accuracy of {models} at the last epoch,"
    )
    seeds = f"seed{'s' if len(grid.seeds) > 1 else ''} {', '.join(map(str, grid.seeds))}"
    where = f"{once(runs['precision'].tolist())} on {once(runs['hardware'].tolist())}"
    data = " ".join(f"{DATASET_NAMES.get(name, name)}: {images(results.on(name))}." for name in grid.datasets)
    length = f"{train.total_epochs} epochs at batch size {train.batch_size}"
    faster = "no run was faster for them"
    if train.kernels != "dense":
        faster = (
            f"runs were faster only where their convolutions skipped zeros (train.kernels: {train.kernels})"
        )
    elif results.finished("export"):
        faster += "; only [smaller networks](#smaller) are"
    blocks: list[Text | Fold] = [
        Text(f"{what} {length}, {seeds}, {where}. {data}", "lead"),
        Text(say("how_to_read", faster=faster), "note"),
    ]
    there = len(runs) + len(results.others)
    if absent := len(results.missing) + len(results.outdated):
        blocks.append(Text(say("absent", there=there, wanted=there + absent), "warning"))
    reasons = {
        "not run yet": results.missing,
        "left out: made with other parameters than params.yaml holds now": results.outdated,
    }
    for why, cells in reasons.items():
        if cells:
            names = Text(", ".join(f"`{cell.dvc_stage}`" for cell in cells))
            blocks.append(Fold(f"{len(cells)} {why}", [names]))
    return blocks + emptied(runs)


def emptied(runs: DataFrame) -> list[Text | Fold]:
    """Which runs have layers that have lost all their connections, and which layers."""
    lost = {run: gone for run, gone in zip(runs["dvc_stage"], runs["empty_layers"], strict=True) if gone}
    if not lost:
        return []
    named, others = [f"`{stage}`" for stage in lost][:FEW], len(lost) - FEW
    names = listed([*named, counted(others, "other")] if others > 0 else named)
    text = say("emptied", count=len(lost), runs=counted(len(runs), "run"), names=names)
    lines = [f"`{stage}`: {', '.join(f'`{name}`' for name in layers)}" for stage, layers in lost.items()]
    return [Text(text, "warning"), Fold("The layers without a connection, run by run", [lines])]


def beside_the_paper(results: Results, ours: str = "last epoch") -> Text:
    """How to read the paper's numbers, and how the runs depart from its protocol."""
    text = say("beside_the_paper", ours=ours)
    if phrases := departures(results):
        text += f" **Not comparable one to one:** {', '.join(phrases)}."
    elif any(protocol(name) and len(results.on(name)) for name in results.params.grid.datasets):
        text += " The protocol is otherwise the paper's."
    return Text(text, "note")


def closing(results: Results) -> list[Section]:
    """How, on what and from what the runs were made; and every run, by the mean that it stands behind."""
    uri = tracking_uri()
    text = say("runs", experiment=results.params.tracking.experiment, how_to_open=how_to_open(uri))
    return [
        Section("protocol", "Protocol and environment", "Protocol", [dict(facts(results))]),
        Section("runs", "Runs", "Runs", [Text(text), Runs(run_groups(results, uri))]),
    ]
