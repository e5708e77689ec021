"""Hook of MkDocs: the pages of the site from the repository and from the package, and their navigation."""

from collections.abc import Iterator

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.site.gallery import interactive_pages, study_folders, study_text
from docs.site.kept import kept
from docs.site.navigation import navigation
from docs.site.notebooks import notebook_pages
from docs.site.reference import reference_pages
from docs.site.repository import ROOT, RepositoryFiles, add_linked_sources, page_of_text, repository_files
from docs.site.trick_pages import trick_figures, trick_pages


def on_config(config: MkDocsConfig) -> None:
    """Leave out the pages that a site in a folder has no use for: their links begin at the root of a server."""
    config.theme.static_templates -= {"404.html", "sitemap.xml"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Return the files of the site, and set its navigation."""
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    found = RepositoryFiles([*repository_files(config), *of_theme])
    for name, content in [*reference_pages(), *of_tricks(), *interactive_pages()]:
        found.append(File.generated(config, name, content=content))
    for folder in study_folders():
        name = folder.relative_to(ROOT).as_posix()
        if found.get_file_from_path(name) is None:  # no README.md
            found.append(page_of_text(config, name, study_text(folder), f"{name}/index.html"))
    for notebook in notebook_pages(config):
        found.append(notebook)
    add_linked_sources(config, found)
    config.nav = navigation(f.src_uri for f in found.documentation_pages() if f.inclusion.is_in_nav())
    return found


def on_post_page(output: str, **_: object) -> str:
    """Return the HTML with a name for the dialog of the search, which the theme leaves without one."""
    return output.replace(
        'data-md-component="search" role="dialog"', 'data-md-component="search" role="dialog" aria-label="Search"'
    )


def of_tricks() -> Iterator[tuple[str, str]]:
    """Yield (path in the repository, content) of the pages and pictures of single tricks."""
    sources = ((ROOT / "bagoftricks", "*.py"), (ROOT / "docs/site", "*.py"), (ROOT / "results", "table.json"))
    for name, content in kept(sources, made_of_tricks).items():
        yield f"docs/{name}", content


def made_of_tricks() -> dict[str, str]:
    """Return the pages and pictures of single tricks by their paths below docs/."""
    return trick_pages() | {name: picture.decode() for name, picture in trick_figures()}
