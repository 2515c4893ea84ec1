"""Exit 0 if the server in this container is ready, else 1.

It runs every few seconds all the time, so it imports almost nothing: an HTTP client would
take ten times as long as its question, and even `socket` as long as all the rest.
"""

import _socket
import os

PORT = int(os.environ.get("ONNXPACK_PORT", "8080"))
REQUEST = b"GET /v2/health/ready HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"


def main() -> int:
    """Ask the server once."""
    connection = _socket.socket()
    connection.settimeout(3)
    answer = b""
    try:
        connection.connect(("127.0.0.1", PORT))
        connection.sendall(REQUEST)
        while len(answer) < 12 and (part := connection.recv(1024)):  # as far as the status reaches
            answer += part
    except OSError as error:
        print(f"no answer on port {PORT}: {error}")
        return 1
    finally:
        connection.close()
    status = answer[9:12].decode("latin-1")
    print(f"port {PORT} answers {status or 'nothing'}")
    return 0 if status == "200" else 1


if __name__ == "__main__":
    raise SystemExit(main())
