"""Index of the tricks' pages."""

from bagoftricks.tricks import FAMILIES
from bagoftricks.tricks.catalogue import cards
from docs.site.tricks.markdown import prose, table
from docs.site.tricks.measured import findings_of


def index_text() -> str:
    """Return the list of all tricks by group, with a line for each."""
    parts = [
        "# Tricks",
        f"{len(cards())} tricks in {len(FAMILIES)} groups. Each page has the definition, the paper and "
        "the differences from it, a picture made by running the trick, and what was measured here.",
    ]
    for family, about in FAMILIES.items():
        rows = [
            [f"[`{card.name}`]({card.name}.md)", prose(card.summary), str(len(findings_of(card.name)) or "")]
            for card in cards()
            if card.family == family
        ]
        parts += [f"## `{family}`: tricks {about}", table(["trick", "what it does", "findings here"], rows)]
    return "\n\n".join(parts) + "\n"
