"""Print the one command under a heading of README.md: `python3 .ci/readme_command.py "Test it"`."""

import re
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def readme_command(heading: str, readme: str) -> str:
    """The single line in the single `sh` block under `## heading`, or an error that says what is wrong."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", readme, re.MULTILINE | re.DOTALL)
    if section is None:
        raise SystemExit(f"README.md has no heading '## {heading}'")
    blocks = re.findall(r"^```sh\n(.*?)^```$", section[1], re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    if len(lines) != 1 or not lines[0].strip():
        raise SystemExit(f"README.md: '## {heading}' must hold one sh block of one command, found {lines}")
    return lines[0]


if __name__ == "__main__":
    print(readme_command(sys.argv[1], README.read_text(encoding="utf-8")))
