"""Every command of the pipeline by one name, as `pip install` puts it on the PATH.

granet COMMAND [key=value ...]          the same as python -m pipeline.COMMAND
granet COMMAND --help                   what it takes
"""

import runpy
import sys

from pipeline.cli import in_words, is_missing

COMMANDS = {
    "params": "write params.yaml, from a recipe or edited",
    "launch": "run the stages that are out of date, several at a time (needs dvc.yaml: a clone)",
    "prepare": "write a data set as .beton files",
    "train": "train one run",
    "plasticity": "measure what pruning once costs, at many points of a training",
    "soup": "average the retrainings of one mask",
    "export": "make a finished run smaller for real; ONNX and packed files",
    "budgets": "print weights and FLOPs of every layer",
    "report": "write the report on all runs",
    "checkpoints": "list and delete what unfinished runs go on from",
    "tracking": "list and send what MLflow has not got yet; register the best models",
    "code": "write the digests of the code that results depend on",
}


def run() -> None:
    """Run the command that the first argument names; exits with 2 where there is none such, or a package is missing."""
    command, *others = sys.argv[1:] or ["--help"]
    if command in COMMANDS:
        sys.argv[1:] = others
        try:
            runpy.run_module(f"pipeline.{command}", run_name="__main__", alter_sys=True)
        except ModuleNotFoundError as error:
            if not is_missing(error):
                raise
            print(f"error: {in_words(error)}", file=sys.stderr)
            sys.exit(2)
    elif command in ("-h", "--help", "help"):
        print((__doc__ or "").strip(), end="\n\n")
        print("\n".join(f"    {name:<12} {words}" for name, words in COMMANDS.items()))
    elif command == "--version":
        from granet import __version__  # imports torch

        print(f"granet {__version__}")
    else:
        print(f"error: {command!r} is no command; choose from {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run()
