"""What Kubernetes' schemas say of objects, run in the environment that has them: objects on stdin, faults on stdout.

Takes {"versions": [...], "objects": [...]}, gives a list of [number of the object, version, fault]. Kinds that
Kubernetes does not define are faults as well.
"""

from __future__ import annotations

import functools
import json
import sys

from kubernetes_validate import utils

# The library reads the whole of a version's definitions for each object.
utils.schema_contents = functools.cache(utils.schema_contents)


def _fault(one: dict[str, object], version: str) -> str | None:
    try:
        checked = utils.validate(one, version, strict=True)
    except utils.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    except utils.SchemaNotFoundError as error:
        return error.message
    return None if checked == version else f"there is no schema of {version}, only of {checked}"


asked = json.load(sys.stdin)
faults = [
    (number, version, fault)
    for version in asked["versions"]
    for number, one in enumerate(asked["objects"])
    if (fault := _fault(one, version)) is not None
]
json.dump(faults, sys.stdout)
