"""How commands end: the exit code says whose fault it was, one line says what to do, and --debug says where."""

import errno
import os
import resource

import pytest

from granet.common.files import atomic
from granet.types import DivergedError, UserError
from pipeline.cli import run_main


def ending(capsys, raised, *arguments):
    """Exit code and standard error of a command that raises."""

    def main(_):
        raise raised

    with pytest.raises(SystemExit) as ended:
        run_main(main, "help", list(arguments))
    return ended.value.code, capsys.readouterr().err


def test_the_users_mistake_is_exit_code_2(capsys):
    assert ending(capsys, UserError("seed=x is no number")) == (2, "error: seed=x is no number\n")


def test_a_run_that_diverged_is_no_mistake_of_the_command_line(capsys):
    assert ending(capsys, DivergedError("the loss is nan")) == (1, "error: the loss is nan\n")


def test_ctrl_c_is_130(capsys):
    code, printed = ending(capsys, KeyboardInterrupt())
    assert code == 130 and printed.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "way_out"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EACCES, "make it writable and readable"),
        (errno.EROFS, "make it writable and readable"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "see to the disk"),
    ],
)
def test_a_machine_that_fails_is_one_line_with_the_way_out(capsys, number, way_out):
    code, printed = ending(capsys, OSError(number, os.strerror(number), "runs/x"))
    assert code == 1 and printed.count("\n") == 1
    assert "runs/x" in printed and way_out in printed and "fault of the program" not in printed


@pytest.mark.parametrize(
    "error", [KeyError("si"), FileNotFoundError(2, "No such file", "x"), ValueError("a\nb")]
)
def test_a_fault_of_the_program_is_never_said_to_be_the_users(capsys, error):
    code, printed = ending(capsys, error)
    assert code == 1 and printed.count("\n") == 1
    assert type(error).__name__ in printed and "test_cli.py" in printed and "--debug" in printed


def test_no_name_breaks_the_line_or_reaches_the_terminal(capsys):
    code, printed = ending(capsys, UserError("a\nb\x1b[2Jc\u2028d\rü"))
    assert (code, printed) == (2, "error: a b\\x1b[2Jc d ü\n")


def test_debug_shows_the_traceback():
    def main(arguments):
        assert arguments == ["seed=1"]
        raise KeyError("si")

    with pytest.raises(KeyError):
        run_main(main, "help", ["seed=1", "--debug"])


def test_help_says_how_a_command_ends(capsys):
    run_main(lambda _: None, "What it does.", ["--help"])
    printed = capsys.readouterr().out
    assert printed.startswith("What it does.") and "--debug" in printed


def test_a_real_full_disk_is_told_as_one(capsys, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # writing more fails, as on a full disk
    try:
        with pytest.raises(SystemExit):
            run_main(lambda _: atomic(tmp_path / "x.json", bytes(2000)), "help", [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "make room" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_package_that_is_not_installed_is_one_line_that_installs_it(capsys):
    code, printed = ending(capsys, ModuleNotFoundError("No module named 'onnx'", name="onnx.helper"))
    assert code == 2 and "No module named 'onnx'; run: make setup" in printed
    code, printed = ending(capsys, ModuleNotFoundError("No module named 'granet.x'", name="granet.x"))
    assert code == 1 and "fault of the program" in printed
