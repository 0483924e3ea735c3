"""A fitted estimator as one safetensors file, and back."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import selfnorm
from selfnorm._files import write_atomically
from selfnorm.errors import DataError, DomainError, MissingDependencyError
from selfnorm.tabular._saving_values import Arrays, decode, encode

if TYPE_CHECKING:
    from selfnorm.tabular import SNNClassifier, SNNRegressor

__all__ = ["load", "save"]

_FORMAT: Final = "selfnorm.tabular"
# (major, minor). The minor number grows with what an older reader may ignore without predicting
# otherwise, the major with everything else; each new major brings a function that turns the record
# of the one before into its own, so that old files load for ever.
_VERSION: Final = (1, 0)
_NO_CHECKSUM: Final = "0" * 64
_CHECKSUM: Final = re.compile(rb'"checksum":\s*"([0-9a-f]{64})"')
_LEARNED: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_]*_")


def save(estimator: SNNClassifier | SNNRegressor, path: str | os.PathLike[str]) -> Path:
    """Write a fitted estimator to one file that can be moved, sent and loaded anywhere.

    The file is safetensors: the weights are its tensors, everything else (parameters,
    preprocessing, classes, version) is JSON in its metadata. Nothing in it is code.

    Parameters
    ----------
    estimator : SNNClassifier or SNNRegressor
        Fitted.
    path : str or path-like
        The file; written whole or not at all, missing folders are made.

    Returns
    -------
    pathlib.Path
        The file written.

    Raises
    ------
    DomainError
        If it is another object or not fitted.
    DataError
        If a parameter or label is of a type the file cannot hold, for example a RandomState.
    OSError
        If the file cannot be written; an existing one is then unchanged.
    MissingDependencyError
        If safetensors is not installed.

    Notes
    -----
    Not saved: the optimiser's state, so that ``partial_fit`` and ``warm_start`` go on from the
    weights with a fresh optimiser.
    """
    kind = _kind_of(estimator)
    state = {k: v for k, v in vars(estimator).items() if _LEARNED.fullmatch(k)}
    if not state:
        raise DomainError(
            f"only a fitted estimator can be saved, however: this {kind} is not; call fit before"
        )
    arrays: Arrays = {}
    params = estimator.get_params(deep=False)
    record = {
        "kind": kind,
        "selfnorm": selfnorm.__version__,
        "parameters": {name: encode(params[name], name, arrays) for name in sorted(params)},
        "state": {name: encode(state[name], name, arrays) for name in sorted(state)},
    }
    metadata = {
        "checksum": _NO_CHECKSUM,
        "format": _FORMAT,
        "version": "{}.{}".format(*_VERSION),
        "model": json.dumps(record, allow_nan=False, separators=(",", ":")),
    }
    content = _in_order(_safetensors().save(arrays, metadata), metadata)
    digest = hashlib.sha256(content).hexdigest().encode()
    start, end = _place_of_checksum(content)
    return write_atomically(path, content[:start] + digest + content[end:])


def load(path: str | os.PathLike[str]) -> SNNClassifier | SNNRegressor:
    """Read an estimator that ``save`` has written; it predicts what the saved one did, bit by bit.

    Parameters
    ----------
    path : str or path-like
        The file.

    Returns
    -------
    SNNClassifier or SNNRegressor
        Fitted, on the CPU.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged, is no saved estimator, or was written in a later
        format than this version of selfnorm knows.
    MissingDependencyError
        If safetensors is not installed.

    Notes
    -----
    Loading runs no code from the file. Its checksum tells of accidents (a cut or changed file), not
    of malice: who changes a file on purpose can write a fitting checksum as well.

    Files of every earlier format load. A file of a later minor format loads too: what this version
    does not know of it has no influence on predictions. A later major format is refused.

    Examples
    --------
    >>> import tempfile
    >>> from selfnorm.tabular import SNNClassifier
    >>> X, y = [[0.0, 1.0], [1.0, 3.0], [2.0, 2.0], [3.0, 0.0]], ["a", "a", "b", "b"]
    >>> model = SNNClassifier((4,), n_members=1, max_iter=2, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = load(model.save(Path(folder) / "model.safetensors"))
    >>> bool((again.predict_proba(X) == model.predict_proba(X)).all())
    True
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"a saved model must be a readable file, however: path={os.fspath(path)!r} "
            f"({error.strerror or error}); give the file that save() wrote"
        ) from error
    try:
        estimator: SNNClassifier | SNNRegressor = _read(content)
    except DataError as error:
        raise DataError(f"{os.fspath(path)!r}: {error}") from error
    return estimator


def _safetensors() -> Any:
    try:
        import safetensors.numpy  # brings the functions without torch
    except ImportError as error:
        raise MissingDependencyError(
            "safetensors", extra="tabular", purpose="A saved model"
        ) from error
    return safetensors.numpy


def _in_order(content: bytes, metadata: dict[str, str]) -> bytes:
    """Put the metadata into one order, which safetensors does not keep: equal models, equal files.

    As there, the header is padded with blanks to a multiple of 8 bytes.
    """
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size]) | {"__metadata__": metadata}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def _classes() -> dict[str, type[Any]]:
    from selfnorm.tabular import SNNClassifier, SNNRegressor

    return {"SNNClassifier": SNNClassifier, "SNNRegressor": SNNRegressor}


def _kind_of(estimator: object) -> str:
    for name, kind in _classes().items():
        if type(estimator) is kind:
            return name
    raise DomainError(
        "estimator must be an SNNClassifier or an SNNRegressor itself, however: "
        f"estimator is a {type(estimator).__name__}; save the parts of a pipeline, and export "
        "other nets with torch"
    )


def _place_of_checksum(content: bytes) -> tuple[int, int]:
    """Return where the checksum's digits stand; the model's own text cannot look like it.

    Inside the metadata the model is a JSON string: its quotation marks have backslashes.
    """
    size = int.from_bytes(content[:8], "little")
    if not 2 <= size <= len(content) - 8:
        raise DataError("the file must be whole, however: it is cut short or no safetensors file")
    found = _CHECKSUM.search(content, 8, 8 + size)
    if found is None:
        raise DataError(
            "the file must hold a selfnorm estimator, however: it is a file of another kind; "
            "selfnorm's are written by estimator.save(path)"
        )
    return found.span(1)


def _read(content: bytes) -> Any:
    metadata = _metadata(content)
    if metadata.get("format") != _FORMAT:
        raise DataError(
            "the file must hold a selfnorm estimator, however: "
            f"format={metadata.get('format')!r}; selfnorm's are written by estimator.save(path)"
        )
    # The version first: a later format may have another checksum.
    version = _version_of(metadata)
    start, end = _place_of_checksum(content)
    blank = content[:start] + _NO_CHECKSUM.encode() + content[end:]
    if hashlib.sha256(blank).hexdigest().encode() != content[start:end]:
        raise DataError(
            "the file must be as it was written, however: its checksum does not fit, it was "
            "changed or damaged; copy it again or train anew"
        )
    numpy = _safetensors()
    from safetensors import SafetensorError

    try:
        record = json.loads(metadata["model"])
        arrays: Arrays = numpy.load(content)
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise DataError(f"the file must hold a model, however: it has none ({error})") from error
    return _estimator(_to_current(record, version), arrays)


def _metadata(content: bytes) -> dict[str, Any]:
    _place_of_checksum(content)
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        metadata = header["__metadata__"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(
            "the file must be a safetensors file, however: its header cannot be read, it was "
            "damaged; copy it again or train anew"
        ) from error
    return metadata if isinstance(metadata, dict) else {}


def _version_of(metadata: dict[str, Any]) -> tuple[int, int]:
    text = metadata.get("version")
    found = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", text) if isinstance(text, str) else None
    if found is None:
        raise DataError(
            f"the file must say its format's version, however: version={text!r}; it was damaged"
        )
    version = int(found[1]), int(found[2])
    if version[0] > _VERSION[0] or version[0] < 1:
        raise DataError(
            f"the file must be of format {_VERSION[0]}.x or older, however: version={text!r}; "
            "install a newer selfnorm: pip install -U selfnorm"
        )
    return version


def _to_current(record: Any, version: tuple[int, int]) -> dict[str, Any]:
    """Turn a record of an older major format into the present one; there is none yet."""
    if not isinstance(record, dict) or not {"kind", "parameters", "state"} <= record.keys():
        raise DataError("the file must hold a model, however: its record is of another form")
    return record


def _estimator(record: dict[str, Any], arrays: Arrays) -> Any:
    kind = _classes().get(str(record["kind"]))
    if kind is None:
        raise DataError(
            "the model must be an SNNClassifier or an SNNRegressor, however: "
            f"kind={record['kind']!r}; install a newer selfnorm: pip install -U selfnorm"
        )
    parameters, state = record["parameters"], record["state"]
    if not isinstance(parameters, dict) or not isinstance(state, dict):
        raise DataError("the file must hold a model, however: its record is of another form")
    known = kind().get_params(deep=False).keys()
    estimator = kind(**{k: decode(v, arrays) for k, v in parameters.items() if k in known})
    for name, value in state.items():
        # A name that is a method or property here would hide it.
        if not _LEARNED.fullmatch(name) or hasattr(kind, name):
            raise DataError(f"the model must have learned values alone, however: it has {name!r}")
        setattr(estimator, name, decode(value, arrays))
    return estimator
