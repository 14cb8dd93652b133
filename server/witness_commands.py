"""`wardround server witness`: let somebody from outside follow the logs of this coordinator's studies."""

import argparse
from pathlib import Path

from wardround.common.trust.askwords import add_words_option

_Groups = argparse._SubParsersAction
_REQUEST_WORDS = "It finds them with `wardround audit request`, which showed them."
_TEXT = (
    "Let a witness, an auditor or a regulator follow the studies' logs at the log service (`log_port` in "
    "server.toml), by its request.json, once the words of its key were compared on the telephone, and write its pass. "
    "A member may follow too, with the request it was enrolled with. Witnesses take part in no study."
)


def register(commands: "_Groups[argparse.ArgumentParser]") -> None:
    """Add the command to `wardround server`; its `run` takes the arguments and gives an exit code."""
    witness = commands.add_parser("witness", help="let a witness follow the studies' logs", description=_TEXT)
    witness.add_argument("folder", type=Path, metavar="DIR", help="the coordinator's own folder")
    what = witness.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "request", type=Path, nargs="?", metavar="REQUEST", help="the request.json that it sent"
    )
    what.add_argument("--withdraw", default="", metavar="NAME", help="take a witness out again")
    witness.add_argument(
        "--replace",
        default="",
        metavar="NAME",
        help="the witness that made new keys; its old ones stop working",
    )
    witness.add_argument("--out", type=Path, metavar="FILE", help="write the pass there too")
    add_words_option(witness, "the witness's key")
    witness.set_defaults(run=run_witness)


def run_witness(arguments: argparse.Namespace) -> int:
    """`wardround server witness`."""
    from wardround.common.durable import write_atomic
    from wardround.common.trust.askwords import heard
    from wardround.common.trust.join import open_request
    from wardround.common.trust.sealed import read_sent
    from wardround.server.witnesses import admit, withdraw

    if arguments.withdraw:
        withdraw(arguments.folder, arguments.withdraw)
        print(f"{arguments.withdraw} may not follow the logs any more; its name stays its own.")
        return 0
    data = read_sent(arguments.request)
    name = open_request(data, where=arguments.request.name).name
    words = heard(arguments.words, whose=name, where=_REQUEST_WORDS)
    path = admit(arguments.folder, data, words=words, replace=arguments.replace)
    if arguments.out:
        write_atomic(arguments.out, path.read_bytes())
    print(f"{name} may follow the studies' logs. Send {arguments.out or path}; it holds no secret.")
    return 0
