"""Hook of MkDocs: the pages of the site from the repository and from the package, and their navigation."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from docs.site.gallery import study_pages
from docs.site.navigation import navigation
from docs.site.notebooks import notebook_pages
from docs.site.reference import reference_pages
from docs.site.repository import add_linked_sources, repository_files


def on_config(config: MkDocsConfig) -> None:
    """Leave out the pages that a site in a folder has no use for: their links begin at the root of a server."""
    config.theme.static_templates -= {"404.html", "sitemap.xml"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Return the files of the site, and set its navigation."""
    of_theme = [file for file in files if file.src_dir != config.docs_dir]
    found = Files([*repository_files(config), *of_theme])
    for name, content in [*reference_pages(), *study_pages()]:
        found.append(File.generated(config, name, content=content))
    for page in notebook_pages(config):
        found.append(page)
    add_linked_sources(config, found)
    config.nav = navigation(f.src_uri for f in found.documentation_pages() if f.inclusion.is_in_nav())
    return found
