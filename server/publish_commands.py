"""`wardround server publish`: make the file that hospitals review and approve."""

import argparse
from pathlib import Path

_Groups = argparse._SubParsersAction


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to `wardround server`; its `run` takes the arguments and gives an exit code."""
    text = (
        "Write STUDY.wardround: the protocol, the loadings it names and the signed roster, and nothing else. Every "
        "hospital reviews and approves that file. After a change of protocol or roster, publish again."
    )
    publish = commands.add_parser("publish", help="make the file that hospitals approve", description=text)
    publish.add_argument("folder", type=Path, metavar="DIR", help="the coordinator's own folder")
    publish.add_argument("study", type=Path, metavar="STUDY", help="the study.toml")
    publish.set_defaults(run=run_publish)


def run_publish(arguments: argparse.Namespace) -> int:
    """`wardround server publish`."""
    from wardround.server.publishing import publish

    path = publish(arguments.folder, arguments.study)
    print(f"Wrote {path}.")
    print(f"Send it to every hospital. There: wardround site review DIR {path.name}")
    return 0
