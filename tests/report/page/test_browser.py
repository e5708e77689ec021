"""Pages in a real browser: what it runs, what it asks for, how it looks on a phone, and what readers hear."""

import threading

import pytest

from bagoftricks.cli.page_server import PageServer
from bagoftricks.report.page.whole_page import load_report, whole_page
from tests.report.page.browser import Opened, chromium, violations
from tests.report.page.studies import make_study

pytestmark = pytest.mark.slow
ARMS = {
    "baseline": [70.0, 71.0, 72.0],
    "cosine": [75.0, 76.1, 77.2],
    "mixup": [9.5, 72.0, 71.0],
    "<img src=x onerror=window.broken=1>": [71.5, None, 72.5],
    "a very_long_label_without_any_blank_in_it(alpha=0.25,partner=second_batch,unmixed_end=5)": [None] * 3,
}
HOSTILE = "</script><script>window.broken=1</script><svg onload=window.broken=1>'\" onclick=window.broken=1"
SIZES = {"wide": {"width": 1100, "height": 900}, "phone": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    changes = {"cosine": {"command": HOSTILE, "environment": {"device": HOSTILE}}}
    title, notes = "Five arms </title><script>window.broken=1</script>", [HOSTILE]
    return make_study(tmp_path_factory.mktemp("store"), ARMS, title=title, notes=notes, changes=changes, source=HOSTILE)


@pytest.fixture(scope="module")
def file(store):
    path = store.root / "page.html"
    path.write_text(whole_page(load_report(store, [], "bot-report")), encoding="utf-8")
    return path


def test_nothing_is_asked_for_nothing_breaks_out_and_nothing_is_wrong(browser, file):
    opened = Opened(browser, file)
    assert opened.said == []
    assert opened.asked == [file.as_uri()]
    assert opened.page.evaluate("window.broken") is None
    assert (
        opened.page.evaluate("[...document.querySelectorAll('img, script[src], iframe, link[rel=stylesheet]')].length")
        == 0
    )
    opened.page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.broken = 1'; document.body.append(s)"
    )
    assert opened.page.evaluate("window.broken") is None  # by the policy of the page


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_axe_finds_nothing(browser, file, size, scheme):
    assert violations(browser, file, viewport=SIZES[size], color_scheme=scheme) == {}


def column(page, number):
    return page.evaluate(
        f"[...document.querySelectorAll('[data-table=arms] tbody tr')].map((row) => row.cells[{number}].textContent)"
    )


def test_a_click_on_a_heading_sorts_by_numbers_and_back(browser, file):
    page = Opened(browser, file).page
    button = page.get_by_role("button", name="top-1 %").first
    button.click()
    assert [value[:5] for value in column(page, 1)] == ["50.83", "71.00", "72.00", "76.10", "not r"]
    button.press("Enter")  # by keyboard too
    assert [value[:5] for value in column(page, 1)] == ["not r", "76.10", "72.00", "71.00", "50.83"]
    assert page.get_attribute("[data-table=arms] th:nth-child(2)", "aria-sort") == "descending"


def test_the_filter_keeps_the_rows_with_all_words(browser, file):
    page = Opened(browser, file).page
    page.get_by_label("Filter").first.fill("cosine helps")
    assert page.locator("[data-table=arms] tbody tr:visible").count() == 1
    assert page.locator("[role=status]").first.text_content() == "1 of 5 rows"
    page.get_by_label("Filter").first.fill("")
    assert page.locator("[data-table=arms] tbody tr:visible").count() == 5


def test_all_is_there_without_script(browser, file):
    plain, whole = (Opened(browser, file, java_script_enabled=enabled).page for enabled in (False, True))
    assert plain.locator("button").count() == 0
    for part in ("[data-table=arms] td", ".arm", "pre", "a", "#runs tbody tr", "svg", "li"):
        assert plain.locator(part).count() == whole.locator(part).count() > 0, part
    assert plain.locator("[data-table=arms] tbody tr:visible").count() == 5


@pytest.mark.parametrize("width", [320, 390, 1100])
def test_no_page_is_wider_than_its_window(browser, file, width):
    page = Opened(browser, file, viewport={"width": width, "height": 800}).page
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_a_reader_without_a_mouse_reaches_the_content_and_every_table(browser, file):
    page = Opened(browser, file).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every((box) => box.tabIndex === 0)")


def test_the_page_is_printed(browser, file):
    page = Opened(browser, file).page
    assert page.pdf().startswith(b"%PDF")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 720, "height": 1000})  # of A4 between its margins
    assert page.evaluate("document.documentElement.scrollWidth") == 720
    assert page.locator(".filter:visible").count() == 0


def test_a_live_page_takes_up_a_new_version_and_keeps_what_was_typed(browser, store):
    server = PageServer(0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    report = load_report(store, [], "bot-report")
    page_text = whole_page(report, live=True, pictures=False)
    server.show(page_text)
    opened = Opened(browser, server.address)
    page = opened.page
    page.get_by_label("Filter").first.fill("cosine")
    page.evaluate("window.scrollTo(0, 300)")
    server.show(page_text.replace("What was found", "What was found by now"))
    page.get_by_text("What was found by now").wait_for(timeout=10_000)
    assert page.get_by_label("Filter").first.input_value() == "cosine"
    assert page.locator("[data-table=arms] tbody tr:visible").count() == 1
    assert page.evaluate("window.scrollY") == 300
    assert opened.said == []
    server.shutdown()
    server.server_close()
