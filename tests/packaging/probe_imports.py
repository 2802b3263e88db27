"""Run in an environment of its own: import every module, then say what came in. Prints one JSON object.

Usage: `python probe_imports.py PACKAGE...`
"""

import importlib
import json
import pkgutil
import sys

#: What somebody unpickled while modules were imported (`pickle.find_class` is CPython's audit event).
unpickled: list[str] = []


def watch(event: str, arguments: tuple[object, ...]) -> None:
    """Note every class that an unpickler looks up."""
    if event == "pickle.find_class":
        unpickled.append(".".join(str(part) for part in arguments))


def every_module(package: str) -> list[str]:
    """Import a package and all below it."""
    names = [package]
    for found in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not found.name.endswith(".__main__"):
            importlib.import_module(found.name)
            names.append(found.name)
    return names


sys.addaudithook(watch)
walked = [name for package in sys.argv[1:] for name in every_module(package)]
report = {
    "walked": walked,
    "top_level": sorted({name.split(".")[0] for name in sys.modules}),
    "unpickled": unpickled,
}
json.dump(report, sys.stdout)
