"""Script mode: somebody's ``inference.py`` with ``model_fn``, ``input_fn``, ``predict_fn``, ``output_fn`` or ``transform_fn``.

The contract is that of AWS's framework containers (hosting.md, section 4), as the ``sagemaker-inference`` toolkit executes it:

- ``pre_model_fn(model_dir)``, ``model_fn(model_dir)``, ``model_warmup_fn(model_dir, model)`` once, before the first request;
- then for each request ``input_fn(body, content_type)``, ``predict_fn(data, model)``, ``output_fn(prediction, accept)``, or
  ``transform_fn(model, body, content_type, accept)``, which excludes the other three;
- a function with one parameter more gets the context of the request as its last argument;
- what is missing is the framework's default (``script_defaults``);
- a generator is an answer that comes piece by piece: bytes and text as they are, anything else as JSON. What ``predict_fn``
  yields goes out as it is where the script has no ``output_fn``.

One request at a time, unless ``MODELYARD_MAX_BATCH`` says how many ``predict_fn`` takes together: then it gets a list of what
``input_fn`` gave, and returns a list of as many predictions.
"""

import importlib.util
import inspect
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from modelyard.frameworks.model import LoadError
from modelyard.frameworks.script_context import Context
from modelyard.frameworks.script_defaults import Defaults, encode_anything
from modelyard.frameworks.service import Ask, Refusal, Reply

PROGRAM, SUBMIT = "SAGEMAKER_PROGRAM", "SAGEMAKER_SUBMIT_DIRECTORY"
ACCEPT = "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT"
TIMEOUTS = ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "SAGEMAKER_MODEL_SERVER_TIMEOUT")
WORKERS = "SAGEMAKER_MODEL_SERVER_WORKERS"
LOG_LEVEL = "SAGEMAKER_CONTAINER_LOG_LEVEL"
BASE = "SAGEMAKER_BASE_DIR"
MAX_BATCH = "MODELYARD_MAX_BATCH"
DEFAULT_PROGRAM = "inference.py"
TEXT_TYPES = ("application/json", "text/csv")
"""What arrives as ``str``; everything else as ``bytes``, as in AWS's toolkits."""
BATCH_LIMIT = 256
_ARGUMENTS = {
    "pre_model_fn": ("model_dir",),
    "model_fn": ("model_dir",),
    "model_warmup_fn": ("model_dir", "model"),
    "input_fn": ("body", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
    "transform_fn": ("model", "body", "content_type", "accept"),
}
_STATUSES = range(400, 600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A script: its file, and the folders that its imports are looked for in."""

    program: Path
    folders: tuple[Path, ...]


def find_program(model: Path, code: Path | None, environment: Mapping[str, str]) -> Source | None:
    """The script of an artifact, None where there is none. Raises ``LoadError`` for one that is named and not there.

    ``code`` is the unpacked archive of ``SAGEMAKER_SUBMIT_DIRECTORY``, where that was one. An artifact's own script lies in
    its folder ``code``.
    """
    named = environment.get(PROGRAM, "").strip()
    name = named or DEFAULT_PROGRAM
    name = name if name.endswith(".py") else f"{name}.py"
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise LoadError(f"{PROGRAM}={named!r} has to be a path within the code's folder.")
    folders = [folder for folder in (code, model / "code", model) if folder is not None]
    for folder in folders if named or code else folders[:-1]:
        program = folder / name
        if program.is_file():
            inner = (program.parent,) if program.parent != folder else ()
            library = (folder / "lib",) if (folder / "lib").is_dir() else ()
            return Source(program=program, folders=(*inner, folder, *library))
    if named:
        places = "the archive of " + SUBMIT + " and " if code else ""
        raise LoadError(
            f"{PROGRAM} is {named!r}, but {places}the artifact's folder code hold none."
        )
    return None


def prepare_process(environment: Mapping[str, str], model: Path) -> None:
    """What a script expects of its process: the container's variables, its log level, the model's folder as the current one."""
    os.environ.update(environment)
    os.environ["SM_MODEL_DIR"] = str(model)
    level = environment.get(LOG_LEVEL, "")
    logging.getLogger().setLevel(int(level) if level.isdecimal() else logging.INFO)
    workers = environment.get(WORKERS, "")
    if workers not in ("", "1"):
        _say(f"{WORKERS}={workers}: a replica is one process here; for more, have more instances.")
    base = environment.get(BASE, "")
    if base and Path(base, "model") != model:
        _say(f"{BASE}={base}: the model is at {model}, and stays there.")
    os.chdir(model)


class Script:
    """A loaded script. See the module's docstring."""

    def __init__(
        self,
        module: ModuleType,
        defaults: Defaults,
        environment: Mapping[str, str],
        model_dir: Path,
    ) -> None:
        """Raises ``LoadError`` for functions that cannot be called, or exclude each other."""
        self._accept = environment.get(ACCEPT, "") or "application/json"
        self.max_batch = _batch_size(environment)
        self.seconds = _seconds(environment)
        self._model_dir = model_dir
        self._functions: dict[str, tuple[Callable[..., Any], bool]] = {}
        found = {name: getattr(module, name, None) for name in _ARGUMENTS}
        own = [name for name in ("input_fn", "predict_fn", "output_fn") if found[name]]
        if found["transform_fn"] and own:
            raise LoadError(
                f"{_file(module)} defines transform_fn, which excludes {', '.join(own)}: keep one or the other."
            )
        if self.max_batch > 1 and not found["predict_fn"]:
            raise LoadError(f"{MAX_BATCH} needs a predict_fn, which takes a list and returns one.")
        self._writes = found["output_fn"] is not None
        for name in _ARGUMENTS:
            function = found[name] or getattr(defaults, name, None)
            if function is not None:
                self._functions[name] = function, _takes_context(function, name, _file(module))

    def load(self) -> None:
        """Run what has to be run before the first request. Raises what the script raises."""
        context = self._context(Ask(body=b""))
        self._model: Any = None
        if "pre_model_fn" in self._functions:
            self._call("pre_model_fn", context, str(self._model_dir))
        self._model = self._call("model_fn", context, str(self._model_dir))
        if "model_warmup_fn" in self._functions:
            self._call("model_warmup_fn", context, str(self._model_dir), self._model)

    def answer(self, ask: Ask) -> Reply:
        context = self._context(ask)
        body, content_type, accept = self._read(ask)
        if "transform_fn" in self._functions:
            result = self._call("transform_fn", context, self._model, body, content_type, accept)
            return _reply(result, accept, context)
        data = self._call("input_fn", context, body, content_type)
        prediction = self._call("predict_fn", context, data, self._model)
        return self._output(prediction, accept, context)

    def answer_together(self, asks: Sequence[Ask]) -> list[Reply | Exception]:
        """``predict_fn`` sees those that ``input_fn`` could read, as one list; its context is that of the first."""
        found: list[Reply | Exception | None] = [None] * len(asks)
        ready: list[tuple[int, Context, str, Any]] = []
        for place, ask in enumerate(asks):
            context = self._context(ask)
            try:
                body, content_type, accept = self._read(ask)
                data = self._call("input_fn", context, body, content_type)
            except Exception as error:  # noqa: BLE001 - somebody's code: one caller's error is its own
                found[place] = error
            else:
                ready.append((place, context, accept, data))
        if ready:
            first = ready[0][1]
            predictions = self._call("predict_fn", first, [one[3] for one in ready], self._model)
            if not hasattr(predictions, "__len__") or len(predictions) != len(ready):
                raise TypeError(
                    f"predict_fn was given a list of {len(ready)} ({MAX_BATCH}) and did not return as many predictions"
                )
            for (place, context, accept, _), prediction in zip(ready, predictions, strict=True):
                try:
                    found[place] = self._output(prediction, accept, context)
                except Exception as error:  # noqa: BLE001 - as above
                    found[place] = error
        return [one for one in found if one is not None]

    def _output(self, prediction: Any, accept: str, context: Context) -> Reply:
        if isinstance(prediction, Iterator) and not self._writes:
            return _reply(prediction, accept, context)
        return _reply(self._call("output_fn", context, prediction, accept), accept, context)

    def _call(self, name: str, context: Context, *arguments: Any) -> Any:
        function, takes_context = self._functions[name]
        return function(*arguments, context) if takes_context else function(*arguments)

    def _context(self, ask: Ask) -> Context:
        return Context(ask, model_dir=str(self._model_dir), max_batch=self.max_batch)

    def _read(self, ask: Ask) -> tuple[Any, str, str]:
        """The body as the script gets it, its type, and what is accepted."""
        content_type = ask.content_type or "application/json"
        accept = ask.accept if ask.accept not in ("", "*/*") else self._accept
        if content_type.partition(";")[0].strip().lower() not in TEXT_TYPES:
            return ask.body, content_type, accept
        try:
            return ask.body.decode(), content_type, accept
        except UnicodeDecodeError as error:
            raise Refusal(f"The body is {content_type} but not UTF-8: {error}") from error


def load_script(
    source: Source, *, defaults: Defaults, environment: Mapping[str, str], model_dir: Path
) -> Script:
    """Import a script and load its model. Raises ``LoadError`` saying what failed; the traceback is printed."""
    sys.path[0:0] = [str(folder) for folder in source.folders]
    name = source.program.name
    try:
        module = _import(source.program)
    except BaseException as error:
        raise _failed(f"{name} cannot be imported", error) from error
    script = Script(module, defaults, environment, model_dir)
    try:
        script.load()
    except (LoadError, MemoryError):
        raise
    except BaseException as error:
        raise _failed(f"{name} could not load the model", error) from error
    return script


def _import(program: Path) -> ModuleType:
    """By its file, so that no other module of that name is taken for it; under its name, so that pickles find its classes."""
    spec = importlib.util.spec_from_file_location(program.stem, program)
    assert spec is not None and spec.loader is not None, "a file that ends with .py has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[program.stem] = module
    spec.loader.exec_module(module)
    return module


def _failed(what: str, error: BaseException) -> LoadError:
    """Also for ``sys.exit``: a script that ends its process would end without a word."""
    if isinstance(error, KeyboardInterrupt | MemoryError):
        raise error
    traceback.print_exception(error)
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f" Name its package in code/requirements.txt beside the script ({error.name})."
    where = _own_line(error)
    return LoadError(f"{what}: {type(error).__name__}: {error}{where}.{hint}")


def _own_line(error: BaseException) -> str:
    """The last line of the traceback, which is where to look."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error, SyntaxError) or not frames:
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"


def _takes_context(function: Callable[..., Any], name: str, file: str) -> bool:
    """Whether a function takes the context beside its own arguments. Raises ``LoadError`` if it can be called neither way."""
    arguments = _ARGUMENTS[name]
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [
        one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    required = [one for one in positional if one.default is one.empty]
    if len(positional) == len(arguments) + 1:
        return True
    is_open = any(one.kind is one.VAR_POSITIONAL for one in parameters)
    if len(required) <= len(arguments) and (is_open or len(positional) >= len(arguments)):
        return False
    raise LoadError(
        f"{name} of {file} takes {len(positional)} arguments; it is called with ({', '.join(arguments)}), and with the "
        "context as one more if it takes that."
    )


def _reply(result: Any, accept: str, context: Context) -> Reply:
    content_type, status = context.content_type or accept, context.status
    if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str):
        result, content_type = result
    elif hasattr(result, "get_data") and hasattr(result, "mimetype"):
        # What AWS's older containers called a Response: a Flask response.
        status, content_type, result = result.status_code, result.mimetype, result.get_data()
    is_stream = isinstance(result, Iterator)
    return Reply(
        body=b"" if is_stream else encode_anything(result),
        content_type=content_type,
        status=status,
        custom_attributes=context.custom_attributes,
        pieces=_encoded(result) if is_stream else None,
    )


def _encoded(result: Iterator[Any]) -> Iterator[bytes]:
    """Closing it closes the script's own generator."""
    try:
        for piece in result:
            yield encode_anything(piece)
    finally:
        close = getattr(result, "close", None)
        if close is not None:
            close()


def status_of(error: Exception) -> int:
    """500, or what the error itself says: toolkits' errors carry a status."""
    for name in ("status_code", "error_code", "status", "code"):
        status = getattr(error, name, None)
        if isinstance(status, int) and status in _STATUSES:
            return int(status)
    return 500


def _batch_size(environment: Mapping[str, str]) -> int:
    text = environment.get(MAX_BATCH, "1")
    if not text.isdecimal() or not 1 <= int(text) <= BATCH_LIMIT:
        raise LoadError(f"{MAX_BATCH}={text!r} is not a number from 1 to {BATCH_LIMIT}.")
    return int(text)


def _seconds(environment: Mapping[str, str]) -> float:
    for name in TIMEOUTS:
        text = environment.get(name, "")
        if text:
            if not text.isdecimal() or not int(text):
                raise LoadError(f"{name}={text!r} is not a number of seconds.")
            return float(text)
    return 0.0


def _file(module: ModuleType) -> str:
    return Path(module.__file__ or "the script").name


def _say(text: str) -> None:
    print(f"[modelyard] {text}", flush=True)  # noqa: T201 - the container's log
