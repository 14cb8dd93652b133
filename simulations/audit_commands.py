"""The verbs of `wardround audit` that exercise training; they need the packages of `wardround[simulation]`."""

import argparse

_Parsers = argparse._SubParsersAction


def extend(verbs: "_Parsers[argparse.ArgumentParser]") -> None:
    """Add the verbs to the group `audit`.

    Args:
        verbs: What `wardround.common.audit.commands.register` returned.
    """
