"""A server of WebHDFS over a local folder, a process of its own: what `hdfs` asks of a name node, and no more."""

import json
import shutil
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    root: Path
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def do_GET(self):
        path, query = self._asked()
        if not path.exists():
            self._fail(404, "FileNotFoundException", f"File does not exist: {path}")
        elif query["op"] == "GETFILESTATUS":
            self._json({"FileStatus": _status(path, "")})
        elif query["op"] == "LISTSTATUS":
            inside = sorted(path.iterdir()) if path.is_dir() else [path]
            self._json({"FileStatuses": {"FileStatus": [_status(one, one.name) for one in inside]}})
        else:
            self._send(200, path.read_bytes())

    def do_PUT(self):
        path, query = self._asked()
        body = self._body()
        if query.get("user.name") == "guest":
            self._fail(403, "AccessControlException", f"Permission denied: user=guest, access=WRITE, inode={path}")
        elif query["op"] == "RENAME":
            target = self.root / query["destination"].lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
            self._json({"boolean": True})
        elif path.exists() and query.get("overwrite", "").lower() != "true":
            self._fail(403, "FileAlreadyExistsException", f"{path} already exists")
        elif query.get("step") != "2":
            self._send(307, b"", {"Location": f"http://{self.headers['Host']}{self.path}&step=2"})
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(body)
            self._send(201, b"")

    def do_DELETE(self):
        path, _ = self._asked()
        there = path.exists()
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self._json({"boolean": there})

    def log_message(self, *_):
        pass

    def _asked(self):
        url = urllib.parse.urlsplit(self.path)
        name = urllib.parse.unquote(url.path).removeprefix("/webhdfs/v1").strip("/")
        query = dict(urllib.parse.parse_qsl(url.query))
        return self.root / name, query

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline(), 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _fail(self, code, exception, message):
        remote = {"exception": exception, "javaClassName": exception, "message": message}
        self._json({"RemoteException": remote}, code)

    def _json(self, value, code=200):
        self._send(code, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, code, content, headers=None):
        self.send_response(code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _status(path, suffix):
    state = path.stat()
    return {
        "pathSuffix": suffix,
        "type": "DIRECTORY" if path.is_dir() else "FILE",
        "length": state.st_size,
        "modificationTime": state.st_mtime_ns // 1_000_000,
        "fileId": state.st_ino,
    }


if __name__ == "__main__":
    _Handler.root = Path(sys.argv[2])
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
