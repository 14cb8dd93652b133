"""`wardround audit`: what somebody who trusts nobody can check. The group's root.

Verbs that need no training stand here; those that do are added by `wardround.simulations.audit_commands`, which the
front door's table names beside this module. Nothing heavy is imported before a verb runs.
"""

import argparse

from wardround.common.audit import import_command, verify_command, witness_commands

_Parsers = argparse._SubParsersAction

_TEXT = (
    "Check what a study, a hospital's installation or another system claims about privacy. Needs no network, but for "
    "`witness`, and no trust in coordinator, hospitals or this program's authors beyond the code that runs here."
)


def register(subparsers: "_Parsers[argparse.ArgumentParser]") -> "_Parsers[argparse.ArgumentParser]":
    """Add the group to the root command.

    Returns:
        Where further modules add their verbs; each verb's `run` takes the arguments and gives an exit code.
    """
    audit = subparsers.add_parser("audit", help="check claims about privacy", description=_TEXT)
    verbs = audit.add_subparsers(dest="verb", metavar="VERB", required=True, help="what is checked")
    verify_command.register(verbs)
    import_command.register(verbs)
    witness_commands.register(verbs)
    return verbs
