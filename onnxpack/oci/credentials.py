"""The logins of registries, which are Docker's: its ``config.json`` and credential helpers."""

import threading
import warnings
from dataclasses import dataclass, field

from onnxpack.core.errors import EngineError, flatten_words
from onnxpack.core.redact import HIDDEN

_LOCK = threading.Lock()


@dataclass(frozen=True)
class Login:
    """A name with its password, or an identity token; neither is shown."""

    name: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def hide(self, text: str) -> str:
        """Return a text without the secrets of this login."""
        for secret in (self.password, self.identity_token):
            text = text.replace(secret, HIDDEN) if secret else text
        return text


def find_login(host: str) -> Login | None:
    """Return what Docker would log in to a registry with; None if it has nothing.

    Raises:
        EngineError: the configuration or a credential helper fails.
    """
    from docker import auth  # with the whole SDK, which takes a while: most registries need no login to be read
    from docker.errors import DockerException

    try:
        # One at a time: what is done about warnings holds for all threads.
        with _LOCK, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a helper is missing is an error as well
            found = auth.load_config().resolve_authconfig(host) or {}
    except (DockerException, ValueError, TypeError, LookupError, AttributeError, OSError) as error:
        hint = f"run `docker login {host}` again, or mend config.json in DOCKER_CONFIG (else ~/.docker)"
        raise EngineError(f"the login for {host} cannot be read: {_describe(error)}", hint) from None
    # Those of a file are spelt in another way than those of a helper.
    values = {str(key).lower(): str(value) for key, value in found.items() if value}
    login = Login(values.get("username", ""), values.get("password", ""), values.get("identitytoken", ""))
    return login if login.identity_token or login.name else None


def _describe(error: Exception) -> str:
    """Return what went wrong; a decoder's error would quote what it decoded."""
    from docker.errors import DockerException

    return flatten_words(error, 200) if isinstance(error, DockerException) else type(error).__name__
