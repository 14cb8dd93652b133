"""Sub-packages are found, not listed.

One forgotten by hand would still import in editable mode and be missing from the wheel.
"""

from setuptools import find_packages, setup

ROLES = ("common", "client", "server", "simulations")
found = find_packages(include=[pattern for role in ROLES for pattern in (role, f"{role}.*")])
setup(packages=["wardround", *(f"wardround.{name}" for name in found)])
