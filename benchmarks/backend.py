"""The backend behind every peer: as fast as there is one, so that the proxy is what a run waits for.

nginx where it is installed, else `backend_server`. Its paths are those of `scenarios`: /json and /denied (1 KB, not
to be stored), /cached (1 KB, fresh for an hour, with an ETag), /file (10 MB) and /upload (reads the whole content,
answers 2 bytes).
Every response carries X-Backend, which each peer is configured to remove.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from benchmarks.machine import REPOSITORY
from benchmarks.process import Child, free_port
from benchmarks.scenarios import DOWNLOAD_BYTES, ETAG, SMALL_BYTES

JSON = b'{"item":"' + b"x" * (SMALL_BYTES - 11) + b'"}'

# An upload is answered when it has been read to its end, and not before: nginx reads a request whole before it
# passes it on, even to itself, and the inner request has no content.
_NGINX = """\
{user}
worker_processes 1;
daemon off;
pid {directory}/backend.pid;
error_log {directory}/backend-error.log error;
events {{ worker_connections 8192; }}
http {{
    default_type application/json;
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 300s;
    keepalive_requests 1000000000;
    open_file_cache max=16 inactive=1h;
    open_file_cache_valid 1h;
    client_max_body_size 0;
    client_body_buffer_size 2m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=8192;
        location / {{
            root {directory};
            add_header Cache-Control no-store;
            add_header X-Backend one;
        }}
        location = /cached {{
            root {directory};
            add_header Cache-Control max-age=3600;
            etag off;
            add_header ETag '{etag}';
            add_header X-Backend one;
        }}
        location = /upload {{
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_pass http://127.0.0.1:{port}/read;
        }}
        location = /read {{
            add_header X-Backend one;
            return 200 "{{}}";
        }}
    }}
}}
"""


class Backend:
    """Started once for a run; `kind` says in the results which of the two it was."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._nginx = find_nginx()
        self.kind = "nginx" if self._nginx else "python"
        self._child = Child("backend", directory)

    @property
    def pid(self) -> int:
        return self._child.pid

    def start(self, core: int) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._nginx is None:
            command: list[str] = [sys.executable, "-m", "benchmarks.backend_server", str(self.port)]
            self._child.start(command, core, self.port, cwd=REPOSITORY)
            return
        for name in ("json", "cached", "denied"):
            (self.directory / name).write_bytes(JSON)
        (self.directory / "file").write_bytes(bytes(DOWNLOAD_BYTES))
        settings = self.directory / "backend.conf"
        settings.write_text(_NGINX.format(directory=self.directory, port=self.port, user=nginx_user(), etag=ETAG))
        self._child.start([self._nginx, "-c", settings, "-p", self.directory], core, self.port, cwd=self.directory)

    def stop(self) -> None:
        self._child.stop()


def find_nginx() -> str | None:
    """Its path; Debian keeps it in a directory that not every PATH holds."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")


def nginx_user() -> str:
    """Started as root, nginx would give its worker to a user who may not read the temporary directory."""
    return "user root;" if os.geteuid() == 0 else ""
