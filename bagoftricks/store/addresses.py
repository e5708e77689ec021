"""Addresses of stores beyond a folder: s3://BUCKET/FOLDER and the like."""

import re
from importlib.util import find_spec
from pathlib import Path

from bagoftricks.errors import UserError
from bagoftricks.store.objects import FolderObjects, Objects

SCHEMES = ("s3", "gs", "az")
LOCAL_SCHEME = "file"
URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)((?:/[^?#]*)?)")


def open_objects(url: str) -> Objects:
    """Return the objects below an address. Raises UserError for one that is none, or whose package is missing."""
    found = URL.fullmatch(url)
    if found is None:
        raise UserError(f"store={url}: is no address of objects: type s3://BUCKET/FOLDER (no ? and no #)")
    scheme, place, path = found[1].lower(), found[2], found[3].rstrip("/")
    if scheme == LOCAL_SCHEME and not place and path:
        return FolderObjects(Path(path))
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise UserError(f"store={url}: is none of {known}, file:///FOLDER or a plain folder")
    if "@" in place and scheme != "az":
        raise UserError(f"store={scheme}://...: holds credentials, and records hold store=: set them as variables")
    if not place:
        raise UserError(f"store={url}: names no bucket: type {scheme}://BUCKET/FOLDER")
    if find_spec("obstore") is None:
        raise UserError(f"store={url}: needs obstore: type pip install 'bagoftricks[objects]'")
    from bagoftricks.store.cloud import CloudObjects

    return CloudObjects(f"{scheme}://{place}{path}")
