"""The pipeline itself: real DVC, real FFCV files, a real MLflow database, in a temporary clone."""

import json
import re
import time

import pytest

from granet.common.keys import keys_of
from granet.data.config import DataConfig
from granet.deploy.artefact import load_sparse
from granet.training.config import TrainConfig
from pipeline.params.files import read_yaml
from pipeline.training.stages import STAGES as TABLE
from tests.helpers.project import ROOT, SMALL, Project

RECIPE = (*SMALL, "grid.after=[one_shot]", "tracking.offline=false")
CELL = "digits-resnet20"
GRANET = f"{CELL}-granet-0.98-0"
STAGES = {
    "code",
    "prepare@digits",
    f"dense@{CELL}-0",
    *(f"sparse@{CELL}-{method}-0.98-0" for method in ("gmp", "rigl", "granet", "granet_s2s")),
    f"after@{CELL}-one_shot-0.98-0",
    *(f"reinit@{CELL}-{method}-0.98-0" for method in ("gmp", "granet")),
    *(f"retrain@{GRANET}-{rewind}" for rewind in ("lth", "lrr")),
    "report",
}
FOLLOWS_GRANET = {
    f"sparse@{GRANET}",
    f"reinit@{GRANET}",
    f"retrain@{GRANET}-lth",
    f"retrain@{GRANET}-lrr",
    "report",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The small recipe, reproduced once."""
    project = Project(tmp_path_factory.mktemp("dvc"))
    project.params(*RECIPE)
    project.commit("small recipe")
    project.run("dvc", "repro")
    return project


def ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output))


def mlflow_runs(project, experiment="quick"):
    """name -> tags of all runs in the clone's one database."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return client.search_runs([found.experiment_id])


def test_every_stage_leaves_its_outputs(project):
    for stage, names in {
        "dense": [f"{CELL}-0"],
        "sparse": [f"{CELL}-{m}-0.98-0" for m in ("gmp", "rigl", "granet", "granet_s2s")],
        "after": [f"{CELL}-one_shot-0.98-0"],
        "reinit": [f"{CELL}-{m}-0.98-0" for m in ("gmp", "granet")],
        "retrain": [f"{GRANET}-lth", f"{GRANET}-lrr"],
    }.items():
        folders = project.folder / "runs" / stage
        assert sorted(path.name for path in folders.iterdir()) == sorted(names)
        for name in names:
            files = {path.name for path in (folders / name).iterdir()}
            assert files == {
                "metrics.json",
                "history.csv",
                "diagnostics.csv",
                "model.safetensors",
                "masks.safetensors",
                "summary.json",
            }
    assert (project.folder / "reports/report.html").stat().st_size > 10_000


def test_nothing_changed_means_nothing_to_do(project):
    started = time.monotonic()
    done = project.run("dvc", "repro")
    assert "up to date" in done.stdout
    assert ran(done.stdout) == set()
    assert time.monotonic() - started < 20  # 5 s on an idle machine; the suite runs two processes
    assert project.run("git", "status", "--short").stdout.split() == ["??", "dvc.lock"]


def test_masks_of_retraining_are_those_of_the_sparse_run(project):
    masks = (project.folder / f"runs/sparse/{GRANET}/masks.safetensors").read_bytes()
    for folder in (f"reinit/{GRANET}", f"retrain/{GRANET}-lth", f"retrain/{GRANET}-lrr"):
        assert (project.folder / "runs" / folder / "masks.safetensors").read_bytes() == masks


def test_changing_granets_si_touches_granet_and_what_follows_from_it_only(project):
    text = (project.folder / "params.yaml").read_text()
    section = text[text.index("\ngranet:") :]
    changed = text.replace(section, section.replace("si: 0.0", "si: 0.5", 1))
    assert changed != text
    try:
        (project.folder / "params.yaml").write_text(changed)
        stale = project.stale()
    finally:
        (project.folder / "params.yaml").write_text(text)
    # dvc status names what is stale by itself; reinit and retrain follow from sparse@granet's new outputs
    assert stale == {f"sparse@{GRANET}"}


@pytest.mark.parametrize(
    ("key", "stale"),
    [
        ("tracking.experiment=other", {"report"}),
        ("launch.minutes=60", set()),
        ("rigl.drop_fraction=0.3", {f"sparse@{CELL}-rigl-0.98-0"}),
        ("granet.extend=2.0", {f"sparse@{GRANET}"}),
        ("one_shot.extend=2.0", {f"after@{CELL}-one_shot-0.98-0"}),
        ("data.seed=1", {"prepare@digits", "report"}),
        ("train.lr=0.05", STAGES - {"prepare@digits", "code"}),
        ("train.device=cpu", set()),
        ("data.loader=ffcv", set()),
        ("data.num_workers=1", set()),
    ],
)
def test_a_stage_is_stale_for_the_parameters_it_reads_and_no_others(project, key, stale):
    before = (project.folder / "params.yaml").read_text()
    try:
        project.params(*RECIPE, key)
        assert project.stale() == stale
    finally:
        (project.folder / "params.yaml").write_text(before)


def test_lists_of_the_grid_that_are_empty_make_no_stages(project):
    before = (project.folder / "params.yaml").read_text()
    try:
        empty = ("grid.methods=[]", "grid.after=[]", "grid.reinit=[]", "grid.retrain=[]", "grid.rewinds=[]")
        project.params(*SMALL, *empty)
        listed = project.run("dvc", "stage", "list", "--name-only").stdout.split()
    finally:
        (project.folder / "params.yaml").write_text(before)
    assert set(listed) == {"code", "prepare@digits", f"dense@{CELL}-0", "report"}


def test_after_training_goes_on_from_the_dense_run(project):
    """Its cost begins with that of the dense run, and its mask keeps the dense run's largest weights."""
    from safetensors.torch import load_file

    folder = project.folder / "runs"
    after = json.loads((folder / f"after/{CELL}-one_shot-0.98-0/summary.json").read_text())
    dense = json.loads((folder / f"dense/{CELL}-0/summary.json").read_text())
    assert after["flops"]["training"] > dense["flops"]["training"]
    weights = load_file(folder / f"dense/{CELL}-0/model.safetensors")
    masks = load_file(folder / f"after/{CELL}-one_shot-0.98-0/masks.safetensors")
    kept = min(weights[name][mask].abs().min() for name, mask in masks.items() if mask.any())
    dropped = max(weights[name][~mask].abs().max() for name, mask in masks.items())
    assert kept >= dropped


def test_metrics_and_plots_are_declared(project):
    metrics = project.json("dvc", "metrics", "show", "--json")
    files = next(iter(metrics.values()))["data"]
    assert f"runs/sparse/{GRANET}/metrics.json" in files
    assert files[f"runs/sparse/{GRANET}/metrics.json"]["data"]["sparsity"] == pytest.approx(0.98, abs=1e-4)
    project.run("dvc", "plots", "show", "--out", "plots")
    page = (project.folder / "plots/index.html").read_text()
    for title in ("Test accuracy of every run", "Sparsity of every run", "share of the test images"):
        assert title in page


def test_mlflow_has_a_run_per_training_run_and_one_for_the_report(project):
    runs = {run.data.tags["mlflow.runName"]: run for run in mlflow_runs(project)}
    table = runs.pop(f"table {CELL}")
    assert set(runs) == STAGES - {"code", "prepare@digits"}
    nested = {
        name for name, run in runs.items() if run.data.tags.get("mlflow.parentRunId") == table.info.run_id
    }
    assert nested == set(runs) - {"report"}
    granet = runs[f"sparse@{GRANET}"]
    assert granet.info.status == "FINISHED"
    assert granet.data.params["hyperparameters.si"] == "0.0"
    assert granet.data.params["train.epochs"] == "2"
    revision = project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert granet.data.tags["git_revision"] == revision
    assert granet.data.tags["git_dirty"] == "false"
    assert granet.data.tags["dvc_stage"] == f"sparse@{GRANET}"
    assert len(granet.data.tags["data_md5"]) == 32
    wanted = {
        "train_loss",
        "train_accuracy",
        "val_accuracy",
        "test_accuracy",
        "sparsity",
        "lr",
        "train_flops",
        *(f"masks/{name}" for name in ("ever_active", "overlap_initial", "overlap_updates", "dead_channels")),
        "system/process_cpu_percentage",
        "system/process_memory_megabytes",
    }
    assert wanted <= set(granet.data.metrics)
    (used,) = granet.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("digits", granet.data.tags["data_md5"])
    assert granet.data.tags["mlflow.source.name"] == "pipeline.train" and granet.data.tags["mlflow.user"]
    assert granet.data.tags["mlflow.source.git.commit"] == revision

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{project.folder / 'mlflow.db'}")
    models = client.search_logged_models([granet.info.experiment_id])
    named = {run.info.run_id: name for name, run in runs.items()}
    assert {named[model.source_run_id] for model in models} == nested
    assert [m.step for m in client.get_metric_history(granet.info.run_id, "test_accuracy")] == [1, 2]
    artifacts = {file.path for file in client.list_artifacts(granet.info.run_id)}
    assert {
        "summary.json",
        "model.safetensors",
        "masks.safetensors",
        "history.csv",
        "curves.png",
        "layers.png",
    } <= artifacts
    (model,) = client.search_logged_models(
        [granet.info.experiment_id], f"source_run_id = '{granet.info.run_id}'"
    )
    assert (model.name, str(model.status)) == (GRANET.replace(".", "_"), "READY")
    report = {file.path for file in client.list_artifacts(runs["report"].info.run_id)}
    assert {"report.html", "report.md"} <= report


def test_every_run_is_linked_from_the_report(project):
    page = (project.folder / "reports/report.html").read_text()
    for run in mlflow_runs(project):
        name = run.data.tags["mlflow.runName"]
        if name not in ("report", f"table {CELL}"):
            assert name in page
            assert run.info.run_id in page


@pytest.fixture
def edited(project):
    """Files of the clone that a test may change; they are as before afterwards."""
    before = {}

    def edit(name, change):
        path = project.folder / name
        before.setdefault(path, path.read_text() if path.exists() else None)
        path.write_text(change(before[path] or ""))

    yield edit
    for path, text in before.items():
        path.unlink() if text is None else path.write_text(text)
    project.run("dvc", "repro", "-s", "code")


def test_what_decides_no_result_makes_no_training_stale(project, edited):
    """A comment, a new method, the report and the launcher: only the digests are made anew, and come out the same."""
    edited("granet/update.py", lambda text: f"# a comment\n{text}")
    edited("granet/methods/another.py", lambda text: '"""A method that nobody uses."""\n\nVALUE = 1\n')
    edited("granet/methods/__init__.py", lambda text: f"{text}\nfrom granet.methods import another\n")
    edited("pipeline/report/page.py", lambda text: f"{text}\nVALUE = 1\n")
    edited("pipeline/launch/plan.py", lambda text: f"{text}\nVALUE = 1\n")
    assert project.stale() == {"code", "report"}
    project.run("dvc", "repro", "-s", "code")
    assert project.stale() == {"report"}


def test_a_changed_line_of_the_update_makes_all_training_stale(project, edited):
    edited("granet/update.py", lambda text: text.replace("1e-9", "1e-8"))
    project.run("dvc", "repro", "-s", "code")
    trained = {name for name in STAGES if name not in ("code", "prepare@digits", "report")}
    assert project.stale() == trained


def test_an_experiment_reruns_only_what_depends_on_it(project):
    project.commit("what this commit's parameters give")
    done = project.run("dvc", "exp", "run", "--name", "half", "-S", "granet.si=0.5")
    assert ran(done.stdout) == FOLLOWS_GRANET
    tags = [run.data.tags for run in mlflow_runs(project) if run.data.tags.get("dvc_exp_name") == "half"]
    assert {tag["dvc_stage"] for tag in tags} >= FOLLOWS_GRANET - {"report"}
    head = project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert {tag["dvc_exp_baseline_rev"] for tag in tags} == {head}
    shown = project.run("dvc", "exp", "show", "--only-changed", "--drop", "^runs|^pipeline/|^granet$").stdout
    header = next(line for line in shown.splitlines() if "Experiment" in line)
    changed = ("acc.granet", "acc.granet-reinit", "acc.granet-lth", "acc.granet-lrr", "granet.si")
    assert set(changed) >= set(header.split()) - {"Experiment", "Created"} >= {"granet.si"}
    assert "half" in shown and max(map(len, shown.splitlines())) <= 120
    project.run("git", "checkout", "--", "params.yaml")


def test_the_artifact_of_dvc_yaml_is_where_exports_go():
    artifact = read_yaml(ROOT / "dvc.yaml")["artifacts"]["exported"]
    assert all(out.startswith(f"{artifact['path']}/") for out in declared()["export"]["outs"])


@pytest.mark.soak  # above, an experiment runs in the foreground
def test_two_queued_experiments_in_parallel_land_in_one_table_and_one_database(project):
    alone = ("-S", "grid.reinit=[]", "-S", "grid.retrain=[]")
    project.run("dvc", "exp", "run", "--queue", "-S", "granet.si=0.2,0.3", *alone)
    project.run("dvc", "queue", "start", "-j", "2")
    for _ in range(240):
        status = project.run("dvc", "queue", "status").stdout
        if len(re.findall(r"Success|Failed", status)) == 2:
            break
        time.sleep(1)
    assert len(re.findall("Success", status)) == 2, status + logs(project, status)
    shown = project.json("dvc", "exp", "show", "--json")
    experiments = [
        exp["revs"][0]["data"]["params"]["params.yaml"]["data"]["granet"]["si"]
        for exp in shown[1]["experiments"] or []
    ]
    assert {0.2, 0.3} <= set(experiments)
    sis = [run.data.params.get("hyperparameters.si") for run in mlflow_runs(project)]
    assert {"0.2", "0.3"} <= set(sis)


@pytest.mark.soak  # trains a network more
def test_the_other_commands_of_docs_tracking_run(project):
    """Those on what an experiment left, and on an exported network that others get by its tag."""
    for words in ("plots diff HEAD workspace", "metrics show"):
        named = [f"runs/sparse/{GRANET}/metrics.json"] if words == "metrics show" else []
        assert project.run("dvc", *words.split(), *named).stdout.strip()
    assert f"sparse-{GRANET.removesuffix('-0')}" in project.python("pipeline.tracking", "register").stdout

    one = ("grid.pretrain=[element-0.9]", "grid.export=[element-0.9]", "plasticity.epochs=[1]")
    project.params(*RECIPE, *one)
    project.run("dvc", "repro", "export")
    store, elsewhere = (project.folder.parent / name for name in ("store", "elsewhere"))
    elsewhere.mkdir()
    project.run("dvc", "remote", "add", "-d", "store", str(store))
    project.commit("an exported network")
    project.run("git", "tag", "-a", "exported@v1.0.0", "-m", "ResNet-20 at 90 %")
    project.run("dvc", "push")
    project.run("bash", "-c", f"cd '{elsewhere}' && dvc artifacts get '{project.folder}' exported")
    (hub,) = elsewhere.glob("export/*/hub")
    assert load_sparse(hub).config["sparse"]["sparsity"] == pytest.approx(0.9, abs=1e-3)


def logs(project, status):
    names = re.findall(r"^(\w{7})", status, re.MULTILINE)
    return "".join(project.run("dvc", "queue", "logs", name, check=False).stdout for name in names)


def declared():
    return read_yaml(ROOT / "dvc.yaml")["stages"]


def test_dvc_yaml_has_a_stage_per_row_with_its_keys_and_lists():
    stages = declared()
    assert set(stages) == {"code", "prepare", "report", *TABLE}
    lists = {"dataset": "datasets", "model": "models", "sparsity": "sparsities", "rewind": "rewinds"}
    lists |= {"member": "members"}
    for name, row in TABLE.items():
        own = lists | {"seed": "seeds", "method": row.methods, "network": row.networks}
        assert stages[name]["matrix"] == {key: f"${{grid.{own[key]}}}" for key in row.keys}
        assert tuple(stages[name]["matrix"]) == row.keys  # ${key} is the run's name


def test_stages_declare_the_files_that_they_read_of_the_run_they_start_from():
    for name, row in TABLE.items():
        if row.source is not None:
            deps = [path for path in declared()[name]["deps"] if path.startswith(f"runs/{row.source}/")]
            assert {path.rpartition("/")[2] for path in deps} == set(row.reads), name


def test_stages_declare_the_keys_that_decide_results_and_no_others():
    stages = declared()

    def deciding(section, config):
        return [f"{section}.{name}" for name, key in keys_of(config).items() if key.decides_result]

    assert stages["prepare"]["params"] == [{"params.yaml": deciding("data", DataConfig)}]
    for name in TABLE:
        if name != "export":
            assert stages[name]["params"][0] == {"params.yaml": deciding("train", TrainConfig)}, name


def test_no_stage_but_code_and_report_depends_on_a_source_file():
    for name, stage in declared().items():
        code = [path for path in stage["deps"] if path.startswith(("granet", "pipeline"))]
        assert not code or name in ("code", "report")
