"""The README's code works when pasted."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_training_loop_runs_as_pasted():
    code = "\n".join(blocks("python"))  # the second goes on where the first ends
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.startswith("90.0% {'1.weight': ")


def test_every_file_it_names_is_there():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)#]+)\)", prose):
        assert (ROOT / target).exists(), target


def test_every_make_target_it_names_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_method_is_in_the_table():
    from granet import METHODS

    table = README[README.index("| method | family |") :].split("\n\n")[0]
    names = [line.split("|")[1] for line in table.splitlines()[2:]]
    assert set(re.findall(r"`(\w+)`", " ".join(names))) == set(METHODS)


def test_a_tracking_server_listens_to_its_own_machine_alone():
    """MLflow has no login."""
    for path in (ROOT / "Makefile", *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md")):
        text = path.read_text().replace("\\\n", " ")
        assert "0.0.0.0" not in text, path  # noqa: S104  (it is looked for)
        for command in re.findall(r"^\S*mlflow (?:server|ui) .*", text, re.MULTILINE):
            assert re.findall(r"--host[ =](\S+)", command) in ([], ["127.0.0.1"]), command
