"""Exit 0 if the server in this container is ready, else 1."""

import http.client
import os

PORT = int(os.environ.get("ONNXPACK_PORT", "8080"))


def main() -> int:
    """Ask the server once."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=3)
    try:
        connection.request("GET", "/v2/health/ready")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        print(f"no answer on port {PORT}: {error}")
        return 1
    finally:
        connection.close()
    print(f"port {PORT} answers {status}")
    return 0 if status == http.client.OK else 1


if __name__ == "__main__":
    raise SystemExit(main())
