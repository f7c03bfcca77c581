"""The page in a real browser: nothing is asked for, nothing is complained about."""

import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sample_report as sample

from lipaudit.report.html import to_html

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason=f"no browser is installed ({', '.join(NAMES)})")


class Site:
    """Serves one page to every request and remembers what was asked for."""

    def __init__(self, page):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(page.encode())

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def visit(page, folder):
    """What was asked for (by any host name), the console's lines, and the document after loading."""
    with Site(page) as site:
        port = site.server.server_port
        done = subprocess.run(
            [
                BROWSER,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-dev-shm-usage",
                "--no-first-run",
                f"--user-data-dir={folder}",
                f"--host-resolver-rules=MAP *.example 127.0.0.1:{port}",
                "--enable-logging=stderr",
                "--virtual-time-budget=1000",
                "--dump-dom",
                f"http://127.0.0.1:{port}/report.html",
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return site.asked, console, done.stdout


def test_the_browser_asks_for_nothing_and_complains_about_nothing(tmp_path):
    asked, console, document = visit(to_html(sample.large_report(40, 500)), tmp_path)
    assert asked == ["/report.html"]
    assert console == []
    assert "Every change of an image" in document
    assert document.rstrip().endswith("</html>")


def test_the_policy_holds_what_it_forbids(tmp_path):
    """The same page with foreign parts put into it: they are not loaded, and the console says so."""
    parts = (
        '<img src="http://picture.example/a.png"><script src="http://script.example/a.js"></script>'
        '<link rel="stylesheet" href="http://style.example/a.css"><p style="color:red">x</p>'
        "<script>document.body.append('it ran')</script>"
    )
    asked, console, document = visit(to_html(sample.report()).replace("</main>", f"{parts}</main>"), tmp_path)
    assert asked == ["/report.html"]
    assert len(console) >= 4
    assert "it ran</body>" not in document
