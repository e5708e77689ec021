"""Listing of folders of classes: the images in them, and all that was left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Facts about the folders of one split that its images do not show. Names are relative to ``root``, and raw."""

    root: str
    ignored: Mapping[str, int] = field(default_factory=dict)
    """files that are no images: suffix in lower case, "" without one -> count"""
    junk: Mapping[str, int] = field(default_factory=dict)
    """files and folders of operating systems and tools: name or pattern -> count"""
    links: int = 0
    """links to folders that were followed"""
    dropped_links: tuple[str, ...] = ()
    """links that lead nowhere, or back to a folder above them"""
