"""Print pip constraints that pin each dependency of the gateway to its oldest allowed version.

Development tools keep their newest versions: they do not run in production.
"""

import re
import tomllib
from pathlib import Path

_BOUND = re.compile(r"([A-Za-z0-9._-]+)>=([0-9.]+)[^;]*(;.*)?")


def main() -> None:
    """Read pyproject.toml of the working directory and print one constraint a line."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + [
        one for name, of_extra in extras.items() if name != "dev" for one in of_extra
    ]
    for requirement in wanted:
        match = _BOUND.fullmatch(requirement)
        if match is None:
            raise SystemExit(f"{requirement}: no lower bound of the form name>=version")
        name, version, marker = match.groups()
        print(f"{name}=={version}{marker or ''}")


if __name__ == "__main__":
    main()
