"""Files of the site at their places in the repository, so that a link that works there works in the site as well."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from posixpath import dirname, join, normpath
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).parents[2]
PAGES = ("docs/**/*.md", "*.md", "benchmarks/*.md", "examples/*.md", "experiments/*.md", "results/**/*.md")
ASSETS = ("docs/site/assets/*", "docs/**/*.svg", "docs/**/*.png", "results/**/*.svg", "results/**/*.png")
NO_PAGES = ("results/runs/",)
DESTINATIONS = {"docs/index.md": "index.html", "README.md": "readme.html"}
LINK = re.compile(r"\]\(\s*<?([^)\s>#]+)")
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|/|\\")
LANGUAGES = {
    ".py": "python",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".json": "json",
    ".toml": "toml",
    ".tex": "latex",
    "": "sh",
}
LARGEST = 200_000  # bytes of a source that is shown; a larger one is cut
LEFT_OUT = {"__pycache__", "runs", "page.html"}


class RepositoryFiles(Files):
    """Files by their paths in the repository; a folder with a README.md is that page."""

    def get_file_from_path(self, path: str) -> File | None:
        """Return the file at a path, or the page of the folder there."""
        return super().get_file_from_path(path) or super().get_file_from_path(f"{path}/README.md")


class SourcePage(File):
    """Page made of text, at the path of any file or folder of the repository."""

    def is_documentation_page(self) -> bool:
        """Return True: whatever its suffix, the text is Markdown."""
        return True


def repository_files(config: MkDocsConfig) -> Iterator[File]:
    """Yield the Markdown pages and pictures of the repository."""
    for pattern in (*PAGES, *ASSETS):
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if pattern in ASSETS or not name.startswith(NO_PAGES):
                file = File(name, str(ROOT), config.site_dir, False, dest_uri=DESTINATIONS.get(name))
                if name.startswith("results/") and file.name != "index":  # tables, which the gallery links to
                    file.inclusion = InclusionLevel.NOT_IN_NAV
                yield file


def page_of_text(config: MkDocsConfig, name: str, text: str, destination: str) -> File:
    """Return a page of Markdown text for the file or folder ``name``, whatever its suffix."""
    page = SourcePage(name, None, config.site_dir, False, dest_uri=destination)
    page.generated_by = "docs/site"
    page.content_string = text
    return page


def source_page(config: MkDocsConfig, name: str, text: str, destination: str) -> File:
    """Return a page outside the navigation and the search."""
    header = f"---\ntitle: {PurePosixPath(name).name}\nsearch: {{exclude: true}}\n---\n"
    page = page_of_text(config, name, header + text, destination)
    page.inclusion = InclusionLevel.NOT_IN_NAV
    return page


def add_linked_sources(config: MkDocsConfig, files: Files) -> None:
    """Add a page for each file and folder of the repository that a page links to, and for those that they link to."""
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        file = waiting.pop()
        for name in linked(file):
            if files.get_file_from_path(name) is None and (path := ROOT / name).exists():
                added = folder_page(config, path) if path.is_dir() else file_page(config, path)
                files.append(added)
                waiting.append(added)


def linked(file: File) -> Iterable[str]:
    """Return the paths in the repository that a page links to."""
    targets = (unquote(target) for target in LINK.findall(file.content_string) if not SCHEME.match(target))
    names = (normpath(join(dirname(file.src_uri), target)) for target in targets)
    return [name for name in names if not name.startswith("..") and name != "."]


def file_page(config: MkDocsConfig, path: Path) -> File:
    """Return a page that shows a source."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_bytes()[:LARGEST].decode("utf-8", errors="replace")
    fence = "`" * max(3, 1 + max((len(ticks) for ticks in re.findall("`+", text)), default=0))
    code = f"{fence}{LANGUAGES.get(path.suffix, 'text')}\n{text.rstrip()}\n{fence}\n"
    return source_page(config, name, f"# `{name}`\n\n{code}", f"{name}.html")


def folder_page(config: MkDocsConfig, path: Path) -> File:
    """Return a page that lists a folder."""
    name = path.relative_to(ROOT).as_posix()
    within = [
        entry for entry in sorted(path.iterdir()) if entry.name not in LEFT_OUT and not entry.name.startswith(".")
    ]
    listed = [f"- [{entry.name}{'/' if entry.is_dir() else ''}]({path.name}/{entry.name})" for entry in within]
    return source_page(config, name, f"# `{name}/`\n\n" + "\n".join(listed), f"{name}/index.html")
