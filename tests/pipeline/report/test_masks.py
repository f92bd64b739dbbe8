"""What the masks did: the numbers of diagnostics.csv in the report, where there are any."""

import re

from granet.training.diagnostics import ALL, COLUMNS
from pipeline.params.files import compose
from pipeline.report import page
from pipeline.report.results import mask_curves, read
from pipeline.training.cell import cells
from tests.helpers.runs import write_run

HEAD = ",".join(COLUMNS) + "\n"


def written(tmp_path, monkeypatch, texts):
    """Results of a small grid; ``texts``: method -> seed -> what is in its diagnostics.csv."""
    monkeypatch.chdir(tmp_path)
    params = compose(["recipe=quick", "grid.seeds=[0,1]", "grid.reinit=[]", "grid.retrain=[]"])
    for cell in cells(params):
        folder = write_run(tmp_path / "runs", params, cell, [0.5, 0.75])
        if (text := texts(cell)) is not None:
            (folder / "diagnostics.csv").write_text(text)
    return read(params)


def test_a_section_has_curves_and_the_numbers_of_the_last_epoch(tmp_path, monkeypatch):
    def text(cell):
        if cell.method not in ("granet", "rigl"):
            return HEAD if cell.method is None else None  # dense; of an older version
        share = 0.25 + 0.5 * cell.seed
        return HEAD + f"1,conv,0.5,0.9,0.8,,0\n1,{ALL},0.5,0.9,0.8,0.7,0\n2,{ALL},0.98,{share},0.125,,3\n"

    results = written(tmp_path, monkeypatch, text)
    frame = mask_curves(results.of("digits", "resnet20"))
    assert {name.split("-")[3] for name, _ in frame.index} == {"granet", "rigl"}
    page.write(results, tmp_path / "out")
    report = (tmp_path / "out/report.md").read_text()
    section = report[report.index("## What the masks did") :].split("\n## ")[0]
    assert "masks-digits-resnet20.png" in section
    (line,) = (line for line in section.splitlines() if line.startswith("| GraNet (si = 0)"))
    assert re.findall(r"\[([\d.]+)\]", line) == ["50.00", "12.50", "3.0"]
    assert (tmp_path / "out/figures/masks-digits-resnet20.png").stat().st_size > 10_000


def test_without_such_files_there_is_no_section(tmp_path, monkeypatch):
    page.write(written(tmp_path, monkeypatch, lambda cell: None), tmp_path / "out")
    assert "What the masks did" not in (tmp_path / "out/report.md").read_text()
