"""Putting something of ours in the place of something of Flower's: only where it was, or loudly not at all."""


def replace_in(owner: object, name: str, ours: object) -> None:
    """Set `owner.name` for this process.

    Raises:
        AttributeError: Flower has no such name any more; ours would never be called.
    """
    getattr(owner, name)
    setattr(owner, name, ours)
