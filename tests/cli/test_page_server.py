"""The server of a page: it answers its own addresses alone, and makes the page again when records change."""

import http.client
import threading

import pytest

from bagoftricks.cli import page_server
from bagoftricks.cli.page_server import PageServer, keep_serving, store_stamp
from bagoftricks.errors import UserError
from tests.cli.test_commands import one_line
from tests.report.page.studies import make_study


@pytest.fixture
def server():
    made = PageServer(0)
    made.show('<html lang="en">one</html>')
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def answer(server, path="/", method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    return response.status, response.read().decode(), response.headers


def test_the_page_and_its_version_are_all_there_is(server):
    status, page, headers = answer(server)
    assert (status, page) == (200, f'<html data-version="{server.version}" lang="en">one</html>')
    assert headers["Cache-Control"] == "no-store"
    assert answer(server, "/version")[1] == server.version
    for path in ("/../pyproject.toml", "/report.html", "//etc/passwd", "/?x"):
        assert answer(server, path)[0] == 404
    assert answer(server, method="POST")[0] == 501
    assert answer(server, method="HEAD")[:2] == (200, "")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "localhost:1", "127.0.0.1.evil.example:80", ""])
def test_a_name_of_elsewhere_that_leads_here_gets_nothing(server, host):
    status, text, _ = answer(server, Host=host)
    assert status == 403
    assert "one" not in text
    assert answer(server, Host=f"localhost:{server.server_port}")[0] == 200


def test_other_machines_do_not_reach_it(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_one_line(server):
    with pytest.raises(UserError, match=f"port={server.server_port}: another program has it: type another, or port=0"):
        PageServer(server.server_port)


def test_the_page_is_made_again_when_the_stamp_changes_and_the_end_is_clean(monkeypatch):
    monkeypatch.setattr(page_server, "LOOK_SECONDS", 0.001)
    server, made = PageServer(0), []
    stamps = iter(["a", "a", "b", "b"])

    def stamp():
        for found in stamps:
            return found
        raise KeyboardInterrupt

    def make():
        made.append(f"<html >{len(made)}</html>")
        return made[-1]

    with pytest.raises(KeyboardInterrupt):
        keep_serving(server, make, stamp)
    assert len(made) == 2
    assert server.socket.fileno() == -1


def test_a_new_record_changes_the_stamp(tmp_path):
    assert store_stamp(tmp_path / "nothing") == [[], []]
    store = make_study(tmp_path, {"a": [1.0, 2.0, None]})
    before = store_stamp(tmp_path)
    assert store_stamp(tmp_path) == before
    store.mark_failed("0" * 20, "x", "")
    assert store_stamp(tmp_path) != before


def test_the_command_serves_waits_for_a_study_and_ends_at_an_interruption(bot, tmp_path, monkeypatch):
    seen = []

    def serve_once(server, make, stamp):
        seen.append(make())
        make_study(tmp_path, {"a": [1.0, 2.0, 3.0]}, title="There now")
        seen.append(make())
        server.server_close()
        raise KeyboardInterrupt

    monkeypatch.setattr(page_server, "keep_serving", serve_once)
    monkeypatch.setattr("bagoftricks.report.page.drawings.PICTURES", {})
    done = bot("bot-report", "serve=true", "study=made", "store=.")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("http://127.0.0.1:")
    assert "Waiting" in seen[0]
    assert "holds no study &#x27;made&#x27;" in seen[0]
    assert "There now" in seen[1]


def test_what_does_not_belong_to_serving_is_refused(bot):
    assert "serve=true writes no file" in one_line(bot("bot-report", "serve=true", "file=a.html"))
    assert "it belongs to serve=true" in one_line(bot("bot-report", "port=8000"))
    assert "from 0 to 65535" in one_line(bot("bot-report", "serve=true", "port=70000"))
    assert "must be true or false" in one_line(bot("bot-report", "serve=yes"))
