"""Load estimators from files: pickles whose digest the spec has, and skops files, which run no code."""

import bz2
import hashlib
import io
import lzma
import re
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import joblib

from onnxpack.core.errors import Problem, SourceError, flatten_words
from onnxpack.core.text import with_article
from onnxpack.spec.load import SpecFile

_VERSION = re.compile(rb"_sklearn_version.{1,12}?(\d+\.\d+[\w.]{0,12})", re.DOTALL)
_SEARCHED = 16 * 2**20
"""Bytes of a pickle that are searched for it: a file of a few bytes may stand for gigabytes."""
_COMPRESSIONS: tuple[Callable[[bytes], bytes], ...] = (
    lambda data: data,
    lambda data: zlib.decompressobj().decompress(data, _SEARCHED),
    lambda data: zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, _SEARCHED),  # gzip
    lambda data: bz2.BZ2Decompressor().decompress(data, _SEARCHED),
    lambda data: lzma.LZMADecompressor().decompress(data, _SEARCHED),
)


def load_estimator(file: SpecFile) -> Any:
    """Load the fitted estimator in ``model.path``, from the very bytes whose digest the spec has.

    Raises:
        SourceError: it cannot be loaded, holds something else, or was saved by another scikit-learn.
    """
    model = file.spec.model
    assert model.path
    # Read once, so that what is loaded is what was digested.
    data = file.resolve(model.path).read_bytes()
    skops = model.path.endswith(".skops")
    if (model.sha256 or not skops) and hashlib.sha256(data).hexdigest() != model.sha256:
        raise SourceError(f"'{model.path}' changed after its digest was checked", "run the build again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries' own, about other versions of themselves
        # Another scikit-learn may load the pickle and answer differently: an error here.
        warnings.simplefilter("error", category=_version_warning())
        estimator = _load_skops(model.path, data, model.sha256) if skops else _unpickle(model.path, data)
    if not (hasattr(estimator, "predict") or hasattr(estimator, "transform")):
        raise SourceError(
            f"'{model.path}' holds {with_article(type(estimator).__name__)}",
            "save a fitted estimator or pipeline",
        )
    return estimator


def _unpickle(path: str, data: bytes) -> Any:
    try:
        return joblib.load(io.BytesIO(data))
    except Exception as error:  # a pickle may raise anything
        raise _explain_refusal(path, error, _find_saved_version(data)) from None


def _load_skops(path: str, data: bytes, sha256: str | None) -> Any:
    """Load a skops file; types that skops does not trust are loaded only if the spec has the file's digest."""
    try:
        from skops import io as skops
    except ModuleNotFoundError:
        raise SourceError(
            "'skops' is not installed, and .skops files need it", "pip install 'onnxpack[sklearn]'"
        ) from None
    try:
        strangers = skops.get_untrusted_types(data=data)
    except Exception as error:  # a torn archive or schema raises many kinds
        raise _explain_refusal(path, error, None) from None
    if strangers and sha256 is None:
        digest = hashlib.sha256(data).hexdigest()
        raise SourceError(
            f"'{path}' holds types that skops does not trust: {', '.join(strangers)}",
            f"if you trust the file, add below it: `sha256: {digest}`",
        )
    try:
        return skops.loads(data, trusted=strangers)
    except Exception as error:  # constructors may raise anything
        raise _explain_refusal(path, error, None) from None


def _explain_refusal(path: str, error: Exception, saved_by: str | None) -> SourceError:
    import sklearn

    current = sklearn.__version__
    if isinstance(error, _version_warning()):
        # Some of its versions hold only the text; these attributes are its documented ones.
        saved_by, current = error.original_sklearn_version, error.current_sklearn_version
    if saved_by is not None and saved_by != current:
        return SourceError(
            f"'{path}' was saved by scikit-learn {saved_by}, and {current} is installed",
            f"add `requirements: [scikit-learn=={saved_by}]` below it, or save it again with {current}",
        )
    words = flatten_words(error, 1000)
    return SourceError(
        Problem(f"cannot load '{path}': {type(error).__name__}: {words}",
                "install the libraries that saved it, in the same versions")
    )  # fmt: skip


def _find_saved_version(data: bytes) -> str | None:
    """Return the scikit-learn version in a pickle, found without loading it; None where there is none."""
    # joblib compresses by any of these, and the name does not tell which.
    for decompress in _COMPRESSIONS:
        try:
            found = _VERSION.search(decompress(data))
        except (OSError, ValueError, EOFError, MemoryError, zlib.error, lzma.LZMAError):
            continue
        if found:
            return found[1].decode()
    return None


def _version_warning() -> Any:
    from sklearn.exceptions import InconsistentVersionWarning

    return InconsistentVersionWarning
