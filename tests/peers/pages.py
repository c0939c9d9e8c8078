"""Serves recorded pages of the engine, one further page at each request, and prints the port it took.

Usage: pages.py FOLDER SHAPE [FILE]
FOLDER holds `*.prom.gz`, in order of name. SHAPE is `prefixed` (as recorded from 2.3.19) or `bare`: the names that
2.3.7 would have sent, taken from the inventory FILE; families that 2.3.7 does not have are left out. With `prefixed` the
FILE holds further lines for each page, in which `@` is the number of the request.
"""

import gzip
import http.server
import json
import pathlib
import re
import sys

SUFFIXES = ("_bucket", "_sum", "_count")


def bare(page: str, inventory: pathlib.Path) -> str:
    families = json.loads(inventory.read_text())["families"]
    names = {f["scraped_2_3_19"]: f.get("scraped_2_3_7") for f in families if f.get("scraped_2_3_19")}

    def rename(name: str) -> str | None:
        if name in names:
            return names[name]
        for suffix in SUFFIXES:
            if name.endswith(suffix) and names.get(name[: -len(suffix)]):
                return names[name[: -len(suffix)]] + suffix
        return None

    lines = []
    for line in page.splitlines():
        match = re.match(r"(# (?:HELP|TYPE) )?([A-Za-z_:][A-Za-z0-9_:]*)(.*)", line)
        name = match and rename(match[2])
        if name:
            lines.append(f"{match[1] or ''}{name}{match[3]}")
    return "\n".join(lines) + "\n"


def main() -> None:
    folder, shape = pathlib.Path(sys.argv[1]), sys.argv[2]
    pages = [gzip.decompress(path.read_bytes()).decode() for path in sorted(folder.glob("*.prom.gz"))]
    if shape == "bare":
        pages = [bare(page, pathlib.Path(sys.argv[3])) for page in pages]
    more = pathlib.Path(sys.argv[3]).read_text() if shape == "prefixed" and len(sys.argv) > 3 else ""
    served = 0

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal served
            body = (pages[min(served, len(pages) - 1)] + more.replace("@", str(served))).encode()
            served += 1
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    print(server.server_address[1], flush=True)
    server.serve_forever()


main()
