"""An https proxy that strips a path prefix, as many in front of services do, and a walk over all links behind it. For scripts/check-page."""

import http.client
import re
import ssl
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Of one connection, not of the message.
HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding")


class PrefixProxy:
    """Passes `https://localhost:PORT/PREFIX/...` to a service on this machine as `/...`. Other paths are 404, and remembered."""

    def __init__(self, prefix="/monitor"):
        self.prefix = prefix
        self.upstream_port = None
        self.outside = []
        self.folder = tempfile.TemporaryDirectory()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.server.socket = self.context().wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.public_url = f"https://localhost:{self.server.server_port}{prefix}"

    def context(self):
        """A self-signed certificate; the browser of the check accepts any."""
        key, certificate = (str(Path(self.folder.name) / name) for name in ("key.pem", "certificate.pem"))
        request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"]
        subprocess.run([*request, "-keyout", key, "-out", certificate], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def handler(proxy):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                self.close_connection = True
                if not self.path.startswith(proxy.prefix + "/"):
                    proxy.outside.append(self.path)
                    self.send_error(404)
                    return
                headers = {name: value for name, value in self.headers.items() if name.lower() not in (*HOP_BY_HOP, "host")}
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                upstream = http.client.HTTPConnection("127.0.0.1", proxy.upstream_port)
                try:
                    upstream.request(self.command, self.path.removeprefix(proxy.prefix), body, headers)
                    self.answer(upstream.getresponse())
                except OSError:
                    # Either side closed the connection, as browsers do with events.
                    pass
                finally:
                    upstream.close()

            def answer(self, response):
                self.send_response_only(response.status)
                for name, value in response.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                self.send_header("connection", "close")
                self.end_headers()
                # Events are passed on as they come.
                while part := response.read1(65536):
                    self.wfile.write(part)
                    self.wfile.flush()

            def log_message(self, *_):
                pass

            do_GET = do_POST = do_DELETE = forward

        return Handler

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.folder.cleanup()


class Links(HTMLParser):
    """What a document leads to: links and files, and where its forms go."""

    def __init__(self, html):
        super().__init__()
        self.links, self.forms = set(), set()
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links.update(attributes[name] for name in ("href", "src") if attributes.get(name))
        if tag == "form":
            self.forms.add(attributes.get("action") or "")


def follow(base, session):
    """Follows every kind of link from the overview on: each must stay below the base and be answered."""
    insecure = ssl.create_default_context()
    insecure.check_hostname, insecure.verify_mode = False, ssl.CERT_NONE
    waiting, kinds = [base, base + "docs"], set()
    while waiting:
        url = waiting.pop()
        request = urllib.request.Request(url, headers={"cookie": session, "accept": "text/html"})
        try:
            answer = urllib.request.urlopen(request, context=insecure)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url} is answered {error.code}: {error.read().decode()[-500:]}") from error
        with answer:
            assert answer.url.startswith(base), f"{url} leads to {answer.url}"
            if not answer.headers["content-type"].startswith("text/html"):
                continue
            found, here = Links(answer.read().decode()), answer.url
        for form in found.forms:
            assert urllib.parse.urljoin(here, form).startswith(base), f"a form of {here} goes to {form}"
        for link in found.links:
            to, _ = urllib.parse.urldefrag(urllib.parse.urljoin(here, link))
            if to.startswith("data:"):
                continue
            assert to.startswith(base), f"{here} leads to {to}"
            path, _, query = to.partition("?")
            kind = re.sub(r"[0-9a-f-]{36}", "ID", path), *sorted(urllib.parse.parse_qs(query))
            if kind not in kinds:
                kinds.add(kind)
                waiting.append(to)
    return kinds
