"""A log of requests and errors: one JSON object in each line of stderr.

A client decides neither what a line looks like nor how long it is, and who reads slowly holds up nobody:
lines that find no room are counted, and the count is told.
"""

import json
import logging
import os
import re
import sys
import threading
from collections import deque
from datetime import UTC, datetime

from connection import Request

MAX_BYTES = 4 * 2**20  # of lines that wait to be written
MAX_TEXT = 2000  # characters of a message, a path or a traceback
WRITE_BYTES = 4096  # written at a time: Linux writes so many to a pipe whole, whoever else writes there
CLOSE_SECONDS = 1.0  # for what is left at the end

REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
TRACE = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")  # W3C Trace Context


class Log:
    """Lines for stderr, which a thread of its own writes."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._missed = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def put(self, level: str, message: str, /, **fields: object) -> None:
        """Log something, from any thread and at once; without room for it, count it."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        entry = {"time": now, "level": level, "message": message[:MAX_TEXT], **fields}
        line = json.dumps(entry).encode() + b"\n"  # in ASCII: no control characters, no line ends
        with self._changed:
            if self._bytes + len(line) > MAX_BYTES:
                self._missed += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify()

    def put_request(
        self, remote: str, request: Request | None, seconds: float, status: int, size: int
    ) -> bytes:
        """Log an answer; return the headers by which its client can find the line."""
        headers = request.headers if request else {}
        given = headers.get(b"x-request-id", b"")
        name = given if REQUEST_ID.fullmatch(given) else os.urandom(16).hex().encode()
        echoed = b"x-request-id: %b\r\n" % name
        fields: dict[str, object] = {
            "method": request.method.decode("latin-1") if request else "",
            "path": request.path[:MAX_TEXT] if request else "",
            "status": status,
            "seconds": round(seconds, 6),
            "bytes_in": len(request.body) if request else 0,
            "bytes_out": size,
            "request_id": name.decode(),
            "remote": remote,
        }
        if trace := read_trace(headers.get(b"traceparent", b"")):
            fields["trace_id"], fields["span_id"] = trace
            echoed += b"traceparent: %b\r\n" % headers[b"traceparent"]
        self.put("info" if status < 400 else "warning" if status < 500 else "error", "request", **fields)
        return echoed

    def close(self) -> None:
        """Write what is left, unless that takes long."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(CLOSE_SECONDS)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                while not self._lines and not self._closed:
                    self._changed.wait()
                if not self._lines:
                    return
                count, text = 0, b""
                while self._lines and (not text or len(text) + len(self._lines[0]) <= WRITE_BYTES):
                    text += self._lines.popleft()
                    count += 1
            written = write(text)
            with self._changed:
                self._bytes -= len(text)  # only now: what is being written takes room too
                missed = self._missed + (0 if written else count)
                self._missed = 0 if written else missed
            if written and missed:
                self.put("warning", f"{missed} lines are missing: stderr is read too slowly", missed=missed)


class Handler(logging.Handler):
    """Takes what is logged by ``logging`` into the log."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record, with the end of its traceback."""
        fields = {}
        if record.exc_info:
            fields["traceback"] = logging.Formatter().formatException(record.exc_info)[-MAX_TEXT:]
        self._log.put(record.levelname.lower(), record.getMessage(), **fields)


def write(text: bytes) -> bool:
    """Write to stderr, however long it takes; say whether it could be."""
    try:
        while text:
            text = text[os.write(2, text) :]
    except OSError:  # the disk is full, or nobody reads any more
        return False
    return True


def read_trace(header: bytes) -> tuple[str, str] | None:
    """Return the ids of the trace and of the caller's span, unless the header is not as the W3C has it."""
    match = TRACE.fullmatch(header)
    if not match:
        return None
    version, trace, span, rest = match.groups()
    if version == b"ff" or (version == b"00" and rest) or not trace.strip(b"0") or not span.strip(b"0"):
        return None
    return trace.decode(), span.decode()


def open_log() -> Log | None:
    """Open the log if the environment asks for one."""
    wish = os.environ.get("ONNXPACK_LOG", "")
    if not wish:
        return None
    if wish != "requests":
        sys.exit(f"ONNXPACK_LOG must be 'requests' or empty, got {wish!r}")
    log = Log()
    logging.getLogger().addHandler(Handler(log))
    return log
