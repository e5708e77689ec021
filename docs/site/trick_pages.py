"""Pages and pictures of all tricks for the documentation site, made from the tricks' own code: nothing is committed."""

from collections.abc import Iterator

from bagoftricks.tricks.catalogue import cards
from docs.site.tricks.index import index_text
from docs.site.tricks.page import page_text
from docs.site.tricks.pictures import picture_of

FOLDER = "reference/tricks"


def trick_pages() -> dict[str, str]:
    """Return the Markdown of each trick's page, and of the index, by its path in the site."""
    pages = {f"{FOLDER}/{card.name}.md": page_text(card) for card in cards()}
    return {f"{FOLDER}/index.md": index_text(), **pages}


def trick_figures() -> Iterator[tuple[str, bytes]]:
    """Yield the path in the site and the SVG of each trick that has a picture."""
    for card in cards():
        if picture := picture_of(card.name):
            yield f"{FOLDER}/{card.name}.svg", picture.svg
