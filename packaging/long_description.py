"""Long description of the package: README.md, whose links to files are their names in the source distribution."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

NOTE = "*Names in parentheses, such as (`docs/tricks.md`), are files of the source distribution.*"
CODE = re.compile(r"(```.*?```)", re.DOTALL)
IMAGE = re.compile(r"!\[([^\]]*)\]\((?!https?:)[^)]*\)")
LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|mailto:)([^)]+)\)")


class LongDescription(MetadataHookInterface):
    """Hook of hatchling that sets the readme of a distribution."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the readme."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": without_relative_links(text)}


def without_relative_links(text: str) -> str:
    """Return a page that can be read alone: an index of packages has none of the files that it links to."""
    title, _, rest = text.partition("\n")
    parts = CODE.split(rest)
    parts[::2] = [LINK.sub(named, IMAGE.sub(r"*Picture: \1.*", part)) for part in parts[::2]]
    return f"{title}\n\n{NOTE}\n{''.join(parts)}"


def named(link: re.Match[str]) -> str:
    """Return the text of a link and the name of its file; a part of the page itself is named by its text alone."""
    words, file = link[1], link[2].partition("#")[0]
    return words if not file or words.strip("`") == file else f"{words} (`{file}`)"
