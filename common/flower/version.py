"""Which Flower this package was written against: private names change with every minor version."""

from importlib.metadata import PackageNotFoundError, version

from wardround.common.errors import UsageError

SUPPORTED = "1.41"


def require_supported() -> None:
    """Refuse any other Flower before something fails deep inside it.

    Raises:
        UsageError: Flower is absent or of another minor version.
    """
    try:
        found = version("flwr")
    except PackageNotFoundError:
        found = "none"
    if found != SUPPORTED and not found.startswith(f"{SUPPORTED}."):
        raise UsageError(
            f"expected Flower (flwr) {SUPPORTED}, found {found}",
            advice=f"pip install 'flwr=={SUPPORTED}.*', here and on no other machine: all others keep theirs",
        )
