"""The page in a real browser: nothing is asked for, nothing is complained about."""

import html
import json
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sample_report as sample
from html_page import Page

from lipaudit.report.html import to_html
from lipaudit.report.judgement import Waiver

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


MEASURE = """<script>
const overlap = (a, b) =>
  a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 2 && b.top < a.bottom - 2;
onload = () => {
  const page = document.querySelector("iframe").contentDocument, found = [];
  for (const folded of page.querySelectorAll("details")) folded.open = true;
  const root = page.documentElement;
  if (root.scrollWidth > root.clientWidth) found.push(`the page is ${root.scrollWidth} wide`);
  for (const box of page.querySelectorAll(".scroll"))
    if (box.scrollWidth > box.clientWidth + 1) found.push(`scrolls: ${box.getAttribute("aria-label")}`);
  for (const cell of page.querySelectorAll("td"))
    if (cell.textContent.length > 100 && cell.clientWidth < 140) found.push(`thin: ${cell.textContent}`);
  for (const picture of page.querySelectorAll("svg[role=img]")) {
    const whole = picture.getBoundingClientRect();
    const texts = [...picture.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
    for (const [text, box] of texts) {
      if (box.left < whole.left - 1 || box.right > whole.right + 1) found.push(`outside: ${text}`);
      for (const [other, its] of texts)
        if (other < text && overlap(box, its)) found.push(`${other} on ${text}`);
    }
  }
  const told = document.createElement("pre");
  told.textContent = JSON.stringify(found);
  document.body.append(told);
};
</script>"""

REASON = (
    "The stem was exported with circular padding by the old trainer; a retrained model with the true norm is "
    "due in the spring; until then the classifier stays behind the filter of the mail gate."
)


def framed(page, width):
    """The page in a frame of that width, and what is wrong there; a browser's own window is not as small."""
    return (
        f'<!doctype html><iframe width="{width}" height="900" srcdoc="{html.escape(page)}"></iframe>{MEASURE}'
    )


@pytest.mark.parametrize(
    "width", [400, 1000, *(pytest.param(w, marks=pytest.mark.slow) for w in (360, 660, 1600))]
)
def test_nothing_is_cut_or_laid_over_something_else(tmp_path, width):
    """On a phone and on a desk; only the table of every layer with every number may need to be moved."""
    waiver = Waiver(
        budget="layers-of-the-backbone-stay-1-lipschitz",
        layers=("backbone.stage1.block*.conv", "head.classifier.weight.parametrizations.original0"),
        reason=REASON,
        owner="Ada Lovelace <ada@vision.example.org>",
        expires="2027-01-31",
        state="used",
    )
    evidence = sample.large_report(12, 2000).evidence
    report = sample.report(
        waivers=(waiver,), robustness=evidence.robustness, layers=evidence.layers, blocks=evidence.blocks
    )
    assert faults(report, width, tmp_path) <= {"scrolls: All layers"}


def faults(report, width, folder):
    """What is wrong with the page at that width."""
    _, console, document = visit(framed(to_html(report), width), folder)
    assert not [line for line in console if "favicon" not in line]
    (told,) = [text for path, text in Page(document).texts if path[-1:] == ("pre",)]
    return set(json.loads(told))


def test_names_without_an_end_do_not_widen_the_page(tmp_path):
    name = "n" * 600
    waiver = Waiver(budget=name, layers=(name,), reason=name, owner=name, expires="2027-01-31", state="used")
    how = sample.evidence().preprocessing.model_copy(update={"threat_space": name})
    layers = tuple(sample.conv(k).model_copy(update={"name": f"{name}{k}", "note": name}) for k in range(3))
    budget = sample.budget("fail").model_copy(update={"id": name, "message": name})
    report = sample.report("fail", waivers=(waiver,), preprocessing=how, layers=layers, budgets=(budget,))
    assert faults(report, 400, tmp_path) <= {"scrolls: All layers"}
