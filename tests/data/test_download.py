"""Downloads from a server on this machine that does everything servers do wrong."""

import gzip
import hashlib
import http.server
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest

from lipaudit.data import mnist, transfer
from lipaudit.data.download import download
from lipaudit.data.published import Remote
from lipaudit.data.source import SILENT, Request
from lipaudit.data.transfer import Patience
from lipaudit.errors import InputUnavailable

# Random bytes do not compress, so that there is something to break off in.
CONTENT = gzip.compress(np.random.default_rng(0).bytes(300_000), mtime=0)
OTHER = gzip.compress(np.random.default_rng(1).bytes(300_000), mtime=0)
HASTY = Patience(answer=2.0, stall=0.4, attempts=2)


@dataclass
class Script:
    """How the next requests for one path are answered, the last way for ever; and what was asked."""

    ways: list = field(default_factory=list)
    ranges: list = field(default_factory=list)

    def next(self):
        return self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]


def whole(request, content=CONTENT, etag='"one"'):
    """As it should be."""
    start = int((re.match(r"bytes=(\d+)-", request.headers.get("Range") or "") or [0, 0])[1])
    if request.headers.get("If-Range", etag) != etag:
        start = 0
    if start >= len(content):
        request.send_response(416)
        request.send_header("Content-Range", f"bytes */{len(content)}")
        request.send_header("Content-Length", "0")
        request.end_headers()
        return
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if etag:
        request.send_header("ETag", etag)
    request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    request.wfile.write(content[start:])


def rangeless(request):
    """Everything, whatever was asked for."""
    del request.headers["Range"]
    whole(request)


def truncating(request):
    """Promises all and closes after a third of it."""
    start = int((re.match(r"bytes=(\d+)-", request.headers.get("Range") or "") or [0, 0])[1])
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}")
    request.send_header("ETag", '"one"')
    request.send_header("Content-Length", str(len(CONTENT) - start))
    request.end_headers()
    request.wfile.write(CONTENT[start : start + 100_000])


def stalling(request):
    """Sends a little and then nothing."""
    request.send_response(200)
    request.send_header("ETag", '"one"')
    request.send_header("Content-Length", str(len(CONTENT)))
    request.end_headers()
    request.wfile.write(CONTENT[:1000])
    request.wfile.flush()
    request.server.released.wait(20)


def trickling(request):
    """Never silent for long, and never done."""
    request.send_response(200)
    request.send_header("Content-Length", str(len(CONTENT)))
    request.end_headers()
    for byte in CONTENT:
        request.wfile.write(bytes([byte]))
        request.wfile.flush()
        if request.server.released.wait(0.05):
            return


def speechless(request):
    """Takes the question and says nothing."""
    request.server.released.wait(20)


def page(request, status=200, kind="text/html"):
    """What a captive portal says."""
    body = b"<!doctype html><title>Please log in</title>"
    request.send_response(status)
    request.send_header("Content-Type", kind)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def missing(request):
    page(request, 404)


def wrong(request):
    whole(request, OTHER, '"two"')


def shifted(request):
    """A range that nobody asked for."""
    request.send_response(206)
    request.send_header("Content-Range", f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
    request.send_header("Content-Length", str(len(CONTENT) - 5))
    request.end_headers()
    request.wfile.write(CONTENT[5:])


def unending(request):
    """No length, chunk after chunk."""
    request.send_response(200)
    request.end_headers()
    request.wfile.write(CONTENT)
    while not request.server.released.is_set():
        request.wfile.write(bytes(2**20))


def huge(request):
    request.send_response(200)
    request.send_header("Content-Length", str(10**15))
    request.end_headers()


def redirecting(request):
    request.send_response(302)
    request.send_header("Location", "/whole/file.gz")
    request.send_header("Content-Length", "0")
    request.end_headers()


def to_a_file(request):
    request.send_response(302)
    request.send_header("Location", "file:///etc/passwd")
    request.send_header("Content-Length", "0")
    request.end_headers()


def garbled(request):
    request.wfile.write(b"\x00\xff nothing like HTTP\r\n\r\n")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        script = self.server.scripts[self.path.split("/")[1]]
        script.ranges.append(self.headers.get("Range"))
        try:
            script.next()(self)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_):
        """Silence."""


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """The client went away, as it should."""


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    httpd = Server(("127.0.0.1", 0), Handler)
    httpd.scripts, httpd.released = {"whole": Script([whole])}, threading.Event()
    thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield httpd
    httpd.released.set()
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def remote(server):
    """A published file on mirrors that behave as told."""

    def make(*mirrors, content=CONTENT):
        urls = []
        for i, ways in enumerate(mirrors):
            server.scripts[f"m{i}"] = Script(list(ways) if isinstance(ways, tuple) else [ways])
            urls.append(f"http://127.0.0.1:{server.server_port}/m{i}/file.gz")
        md5, sha256 = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()  # noqa: S324
        return Remote("file.gz", md5, sha256, tuple(urls))

    return make


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def arrived(folder, remote):
    path = download(remote, folder, SILENT, HASTY)
    assert path.read_bytes() == CONTENT
    assert names(folder) == ["file.gz"]


def failed(folder, remote, *words):
    with pytest.raises(InputUnavailable) as caught:
        download(remote, folder, SILENT, HASTY)
    assert caught.value.exit_code == 5
    for word in words:
        assert word in caught.value.message
    assert "file.gz" not in names(folder)


def test_a_good_server(tmp_path, remote, server):
    arrived(tmp_path / "new" / "folder", remote(whole))
    assert server.scripts["m0"].ranges == [None]


def test_what_is_there_is_not_fetched_again(tmp_path, remote, server):
    (tmp_path / "file.gz").write_bytes(b"mine")
    assert download(remote(whole), tmp_path, SILENT, HASTY).read_bytes() == b"mine"
    assert server.scripts["m0"].ranges == []


@pytest.mark.parametrize("bad", [missing, page, garbled, huge, to_a_file])
def test_the_next_mirror_is_asked(tmp_path, remote, server, bad):
    arrived(tmp_path, remote(bad, whole))
    assert len(server.scripts["m0"].ranges) == 1


def test_a_mirror_without_a_server(tmp_path, remote):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    two = remote(whole)
    dead = Remote(two.file, two.md5, two.sha256, (f"http://127.0.0.1:{port}/x", *two.urls))
    arrived(tmp_path, dead)
    failed(tmp_path / "b", Remote(two.file, two.md5, two.sha256, dead.urls[:1]), "cannot be reached")


def test_a_name_that_is_none(tmp_path, remote):
    two = remote(whole)
    url = "http://no-such-host.invalid/file.gz"
    failed(tmp_path, Remote(two.file, two.md5, two.sha256, (url,)), "no-such-host.invalid")


def test_a_truncating_server_is_asked_for_the_rest(tmp_path, remote, server):
    arrived(tmp_path, remote(truncating))
    assert server.scripts["m0"].ranges == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_a_stalling_server(tmp_path, remote, server):
    started = time.monotonic()
    failed(tmp_path, remote(stalling), "sent nothing for 0.4 s", "2 times in a row")
    assert time.monotonic() - started < 15
    # The second one sends the file from its beginning again, ranges or not: no progress.
    assert len(server.scripts["m0"].ranges) == 3


def test_a_later_run_continues(tmp_path, remote, server):
    failed(tmp_path, remote(stalling), "sent nothing")
    assert (tmp_path / "file.gz.part").stat().st_size == 1000
    arrived(tmp_path, remote(whole))
    assert server.scripts["m0"].ranges == ["bytes=1000-"]


def test_another_mirror_continues(tmp_path, remote, server):
    arrived(tmp_path, remote(stalling, whole))
    assert server.scripts["m1"].ranges == ["bytes=1000-"]


def test_a_trickling_server(tmp_path, remote):
    failed(tmp_path, remote(trickling), "sent only")


def test_a_speechless_server(tmp_path, remote):
    with pytest.raises(InputUnavailable, match=r"no answer within 0.3 s"):
        download(remote(speechless), tmp_path, SILENT, Patience(answer=0.3, stall=5.0, attempts=1))


def test_an_answer_that_comes_too_late_is_closed(tmp_path, remote):
    def late(request):
        request.server.released.wait(0.6)
        whole(request)

    with pytest.raises(InputUnavailable, match="no answer"):
        download(remote(late), tmp_path, SILENT, Patience(answer=0.2, stall=5.0, attempts=1))
    time.sleep(0.8)  # pytest turns a socket that nobody closed into an error


def test_a_server_that_ignores_ranges(tmp_path, remote, server):
    failed(tmp_path, remote(stalling), "sent nothing")
    arrived(tmp_path, remote(rangeless))
    assert server.scripts["m0"].ranges == ["bytes=1000-"]


def test_a_range_that_nobody_asked_for(tmp_path, remote):
    failed(tmp_path, remote(stalling), "sent nothing")
    arrived(tmp_path, remote((shifted, whole)))


@pytest.mark.parametrize("etag", ['"two"', None, 'W/"weak"'])
def test_a_file_that_changed_on_the_server(tmp_path, remote, etag):
    """With a validator the server says so, without one the digest does; then all of it is fetched anew."""

    def changed(request):
        whole(request, OTHER, etag)

    first = remote(stalling)
    failed(tmp_path, first, "sent nothing")
    renewed = remote(changed, content=OTHER)
    assert download(renewed, tmp_path, SILENT, HASTY).read_bytes() == OTHER
    assert names(tmp_path) == ["file.gz"]


def test_a_server_that_forgets_to_say_that_it_changed(tmp_path, remote, server):
    """It ignores If-Range, and only its ETag tells."""

    def careless(request):
        del request.headers["If-Range"]
        whole(request, OTHER, '"two"')

    failed(tmp_path, remote(stalling), "sent nothing")
    renewed = remote(careless, content=OTHER)
    assert download(renewed, tmp_path, SILENT, HASTY).read_bytes() == OTHER
    assert server.scripts["m0"].ranges == ["bytes=1000-", None]


def test_another_length_than_before(tmp_path, remote, server):
    def longer(request):
        del request.headers["If-Range"]
        whole(request, OTHER + b"more", None)

    failed(tmp_path, remote(stalling), "sent nothing")
    failed(tmp_path, remote(longer), "other bytes")
    # Twice from the beginning: the first wrong digest might have been the old part's fault.
    assert server.scripts["m0"].ranges == ["bytes=1000-", None, None]


def test_a_part_that_was_complete(tmp_path, remote, server):
    """Interrupted between the last byte and the new name."""
    remote = remote(whole)
    note = {"url": remote.urls[0], "validator": '"one"', "total": len(CONTENT)}
    (tmp_path / "file.gz.part").write_bytes(CONTENT)
    (tmp_path / "file.gz.part.json").write_text(json.dumps(note))
    arrived(tmp_path, remote)
    assert server.scripts["m0"].ranges == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("note", [None, "{", '{"url": 1}', "[]"])
def test_a_part_of_unknown_origin_is_forgotten(tmp_path, remote, server, note):
    (tmp_path / "file.gz.part").write_bytes(b"\x1f\x8b whatever")
    if note is not None:
        (tmp_path / "file.gz.part.json").write_text(note)
    arrived(tmp_path, remote(whole))
    assert server.scripts["m0"].ranges == [None]


def test_a_part_that_is_longer_than_the_file(tmp_path, remote):
    remote = remote(whole)
    (tmp_path / "file.gz.part").write_bytes(CONTENT + b"more")
    (tmp_path / "file.gz.part.json").write_text(
        json.dumps({"url": remote.urls[0], "validator": '"one"', "total": len(CONTENT)})
    )
    arrived(tmp_path, remote)


def test_a_damaged_part_costs_one_more_transfer(tmp_path, remote, server):
    remote = remote(whole)
    (tmp_path / "file.gz.part").write_bytes(OTHER[:5000])
    (tmp_path / "file.gz.part.json").write_text(
        json.dumps({"url": remote.urls[0], "validator": '"one"', "total": len(CONTENT)})
    )
    arrived(tmp_path, remote)
    assert server.scripts["m0"].ranges == ["bytes=5000-", None]


def test_wrong_bytes_never_get_the_name(tmp_path, remote):
    failed(tmp_path, remote(wrong), "sent other bytes than the published ones")
    assert names(tmp_path) == []
    arrived(tmp_path, remote(wrong, whole))


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_page_in_place_of_the_file(tmp_path, remote, kind):
    failed(tmp_path, remote(lambda request: page(request, 200, kind)), "an HTML page")


def test_more_than_any_data_set_has(tmp_path, remote, monkeypatch):
    monkeypatch.setattr(transfer, "LARGEST", 2**22)
    failed(tmp_path, remote(unending), "sent more than")
    failed(tmp_path, remote(huge), "too many")


def test_redirects_are_followed(tmp_path, remote):
    arrived(tmp_path, remote(redirecting))


def test_a_folder_that_cannot_be_written(tmp_path, remote):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputUnavailable, match="cannot be written") as caught:
        download(remote(whole), tmp_path / "file", SILENT, HASTY)
    assert "XDG_CACHE_HOME" in caught.value.hint


def test_a_full_disk(tmp_path, remote, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(InputUnavailable, match="No space left"):
        download(remote(whole), tmp_path, SILENT, HASTY)


def test_two_at_once_share_one_transfer(tmp_path, remote, server):
    def slow(request):
        request.server.released.wait(0.3)
        whole(request)

    one, results = remote(slow), []
    threads = [
        threading.Thread(target=lambda: results.append(download(one, tmp_path, SILENT, Patience())))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [path.read_bytes() == CONTENT for path in results] == [True] * 3
    assert len(server.scripts["m0"].ranges) == 1


def test_progress_counts_megabytes(tmp_path, remote, monkeypatch):
    seen = []

    class Watched:
        def stage(self, name, total):
            seen.append((name, total))

        def advance(self, n=1):
            seen.append(n)

    monkeypatch.setattr(transfer, "_MEGABYTE", 1000)
    download(remote(truncating), tmp_path, Watched(), HASTY)
    stages = [(entry, i) for i, entry in enumerate(seen) if isinstance(entry, tuple)]
    assert {entry for entry, _ in stages} == {("downloading file.gz (MB)", len(CONTENT) // 1000)}
    # Each transfer starts where the last one ended, and the last one ends at the end.
    assert sum(seen[stages[-1][1] + 1 :]) == len(CONTENT) // 1000


@pytest.fixture
def published(monkeypatch, server, write_idx, digits, tmp_path):
    """MNIST's test split as served by our server."""
    files = [
        write_idx(tmp_path / "origin" / f"t10k-{name}.gz", array)
        for name, array in (("images-idx3-ubyte", digits[0]), ("labels-idx1-ubyte", digits[1]))
    ]
    remotes = []
    for i, file in enumerate(files):
        content = file.read_bytes()
        server.scripts[f"d{i}"] = Script([lambda request, c=content: whole(request, c)])
        md5, sha256 = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()  # noqa: S324
        url = f"http://127.0.0.1:{server.server_port}/d{i}/{file.name}"
        remotes.append(Remote(file.name, md5, sha256, (url,)))
    monkeypatch.setitem(mnist._DIGITS.remotes, "test", tuple(remotes))
    monkeypatch.delenv("LIPAUDIT_OFFLINE", raising=False)
    return server


def test_a_data_set_found_nowhere_is_downloaded_into_the_cache(tmp_path, published):
    for _ in range(2):
        opened = mnist.MNIST.open(Request(""))
        assert (opened.name, opened.total, opened.official) == ("mnist:test", 12, True)
    assert names(tmp_path / "cache" / "lipaudit" / "mnist") == [
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]
    assert published.scripts["d0"].ranges == published.scripts["d1"].ranges == [None]


def test_what_is_found_here_is_not_downloaded(tmp_path, published, write_mnist):
    write_mnist(tmp_path / "data", suffix=".gz", labels=np.zeros(12))
    assert mnist.MNIST.open(Request("")).official is False
    assert published.scripts["d0"].ranges == []


@pytest.mark.parametrize(("option", "variable"), [(True, ""), (False, "1"), (False, "yes")])
def test_offline_asks_nobody(published, monkeypatch, option, variable):
    monkeypatch.setenv("LIPAUDIT_OFFLINE", variable)
    with pytest.raises(InputUnavailable, match="offline") as caught:
        mnist.MNIST.open(Request("", offline=option))
    assert published.scripts["d0"].ranges == []
    assert "t10k-labels-idx1-ubyte.gz" in caught.value.hint
    assert "cache/lipaudit/mnist" in caught.value.hint


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize("variable", ["0", "false", "no", "off", ""])
def test_a_variable_that_says_no(monkeypatch, variable):
    monkeypatch.setenv("LIPAUDIT_OFFLINE", variable)
    assert mnist.MNIST.open(Request("")).total == 12


def test_a_failed_download_says_what_to_fetch(published):
    published.scripts["d1"] = Script([missing])
    with pytest.raises(InputUnavailable, match="answered 404") as caught:
        mnist.MNIST.open(Request(""))
    assert "was not found" in caught.value.message
    assert "fetch http://" in caught.value.hint
