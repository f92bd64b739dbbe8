"""Where the artifacts of the workspace's own database lie: in mlartifacts beside it, wherever that folder goes.

MLflow writes absolute addresses into its database. After the project was moved they would lead to where it was, and in
a copy of the project to the original.
"""

import hashlib
import re
import sqlite3
from contextlib import closing
from pathlib import Path

ARTIFACTS = "mlartifacts"
COLUMNS = (
    ("experiments", "artifact_location", 1),  # EXPERIMENT
    ("runs", "artifact_uri", 3),  # EXPERIMENT/RUN/artifacts
    ("logged_models", "artifact_location", 4),  # EXPERIMENT/models/MODEL/artifacts
    ("model_versions", "storage_location", 4),  # the same
)
"""Where the database has addresses, and how many names follow mlartifacts in them."""
LONGEST = 80


def folder_name(experiment: str) -> str:
    """An experiment's name as that of one folder; a long one ends in its md5.

    >>> folder_name("table 2"), folder_name("../a"), folder_name("a/b")
    ('table 2', '%2E.%2Fa', 'a%2Fb')
    """
    name = re.sub(r"^\.|[/\\%\x00-\x1f]", lambda match: f"%{ord(match[0]):02X}", experiment)
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name[: LONGEST // 4]}-{hashlib.md5(experiment.encode()).hexdigest()}"


def location(workspace: Path, experiment: str) -> str:
    """The address of an experiment's artifacts."""
    return (workspace / ARTIFACTS / folder_name(experiment)).as_uri()


def follow(database: Path) -> None:
    """Turn the addresses in a database to the mlartifacts beside it; all others stay."""
    home = (database.parent / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(database)) as connection, connection:
        for table, column, names in COLUMNS:
            for (address,) in connection.execute(f"SELECT DISTINCT {column} FROM {table}").fetchall():
                old, *rest = (address or "").rsplit("/", names)
                if old != home and old.startswith("file:") and old.endswith(f"/{ARTIFACTS}"):
                    new = "/".join([home, *rest])
                    connection.execute(f"UPDATE {table} SET {column} = ? WHERE {column} = ?", (new, address))
