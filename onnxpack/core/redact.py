"""Detection of secrets in URLs, in assignments and by their shape; no other module decides what a secret is.

The spec's rules ask it whether a URL may be in a spec; errors, logs and reports pass what they show through it.
"""

import re
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

HIDDEN = "***"
_STRONG = (
    "password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "accesskey", "secretkey", "privatekey",
    "accountkey", "sharedkey", "signature", "credential", "credentials", "authorization", "jwt", "sas",
)  # fmt: skip
"""How a name ends, word for word, whose value lets somebody in, whatever it stands in."""
_LONG = tuple(word for word in _STRONG if len(word) > 4)
"""Those that end a longer word of their own, as in ``dbpassword``; no other word ends like them."""
_WEAK = ("key", "sig", "auth", "oauth", "pass", "session", "hmac", "bearer", "cookie", "otp")
"""Words that mean a secret among the parameters of a URL, and often something else in a spec (``weights_key``)."""
_WHOLE = ("code", "pat", "sign")
"""Parameters that mean a secret (of Azure's functions, for one) where it is their whole name: not ``country_code``."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ASSIGNED = re.compile(
    r"""(?P<name>(?<![\w.-])[A-Za-z_-][\w.-]{0,200})
    (?P<between>["']?[ \t]{0,3}[:=][ \t]{0,3})
    (?P<value>"[^"\n]*"|'[^'\n]*'|[^\s"',;&}\]]+)""",
    re.VERBOSE,
)
"""``name: value``, ``NAME=value``, ``"name": "value"``; bounded in front, so that a long text costs only its length."""
_SHAPES = re.compile(
    r"""-----BEGIN\ [A-Z ]{0,40}PRIVATE\ KEY-----.*?(?:-----END\ [A-Z ]{0,40}PRIVATE\ KEY-----|\Z)
    |(?<=://)[^/\s'"]{1,4000}(?=@)                       # a URL's login; a password may hold an @ itself
    |(?<=\w:/)[^/\s'"]{1,4000}(?=@)                      # the same of a URL that was taken for a path
    |(?<=[?&])[^\s=&?'"\#]{1,200}=[^\s&'"}\],]+          # a URL's parameters, whatever their names
    |(?<![\w-])(?:gh[opsur]_|github_pat_|glpat-|hf_|sk-|xox[abprs]-)[\w-]{16,}   # tokens by their issuers' prefixes
    |(?<!\w)(?:AKIA|ASIA)[0-9A-Z]{16}(?!\w)|(?<!\w)AIza[\w-]{35}
    |(?<!\w)eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*            # a JSON Web Token, RFC 7519
    |(?<=[Bb]earer\ )[\w.~+/=-]{8,}|(?<=uthorization:\ Basic\ )[\w+/=]{4,}""",
    re.VERBOSE | re.DOTALL,
)


def is_secret_name(name: str, *, parameter: bool = False) -> bool:
    """Tell whether what has this name is a secret; the names of a URL's parameters are judged more strictly."""
    words = [word.lower() for word in _WORD.findall(name)]
    ends = {"".join(words[start:]) for start in range(len(words))}
    if any(end in _STRONG for end in ends) or (words and words[-1].endswith(_LONG)):
        return True
    if not parameter:
        return False
    return "".join(words) in _WHOLE or any(word in (*_STRONG, *_WEAK) or word.endswith(_LONG) for word in words)


def find_secret(url: str) -> str | None:
    """Say where a URL holds a secret, in words that can follow "a secret in"; None if it holds none.

    Raises:
        ValueError: it is not a URL.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc:
        return "its login"
    for text in (parts.query, parts.fragment):
        for name, value in parse_qsl(text, keep_blank_values=True):
            if is_secret_name(name, parameter=True) or _SHAPES.search(value):
                return f"its parameter '{name}'"
    return "its path" if _SHAPES.search(parts.path) else None


def redact(text: str, *, keep_width: bool = False) -> str:
    """Replace all that may be a secret in a text by asterisks: three, or as many as it has characters.

    A URL's parameters are all replaced, since their names tell little.
    """

    def hide(found: str) -> str:
        return "*" * len(found) if keep_width else HIDDEN

    text = _SHAPES.sub(lambda match: hide(match[0]), text)
    return _ASSIGNED.sub(_make_value_hider(hide), text)


def _make_value_hider(hide: Callable[[str], str]) -> Callable[[re.Match[str]], str]:
    def replace(match: re.Match[str]) -> str:
        # A field's path, as of --set, names a secret if a mapping around the value does.
        if not any(is_secret_name(part) for part in match["name"].split(".")):
            return match[0]
        return match["name"] + match["between"] + hide(match["value"])

    return replace
