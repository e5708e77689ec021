"""A browser without a window that opens pages, as a reader's does."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)


@contextmanager
def chromium():
    """The browser; without one, the tests are skipped."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    with api.sync_playwright() as play:
        try:
            browser = play.chromium.launch(executable_path=found, args=list(FLAGS))
        except api.Error as error:
            pytest.skip(f"no browser: scripts/install-browser ({str(error).splitlines()[0]})")
        yield browser
        browser.close()


class Opened:
    """A page in a window of its own, with what its console said and what it asked for."""

    def __init__(self, browser, address, **context):
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address if "://" in str(address) else Path(address).as_uri())


def violations(browser, path, **context):
    """What axe finds wrong with a page, by rule."""
    axe = Path(pytest.importorskip("axe_core_python").__file__).with_name("axe.min.js").read_text(encoding="utf-8")
    page = browser.new_context(bypass_csp=True, **context).new_page()  # its policy allows no other script
    page.goto(Path(path).as_uri())
    page.evaluate(f"{axe};0")
    found = page.evaluate("axe.run()")["violations"]
    page.context.close()
    return {each["id"]: [node["html"][:200] for node in each["nodes"]] for each in found}
