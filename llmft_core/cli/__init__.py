"""The back door: `python -m llmft_core COMMAND`. Commands are thin; bad input: one sentence on stderr, exit code 2."""

import io
import os
import re
import signal
import sys
import threading
import traceback

import typer
from typer.exceptions import TyperException

from llmft_core import files
from llmft_core.cli import learn, measure, results, shelf, talk

app = typer.Typer(
    name="llmft_core",
    help="Fine-tune a small language model and see what changed.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("fine-tune")(learn.fine_tune)
for command in (
    results.evaluate,
    results.compare,
    results.weights,
    results.score,
    results.bits_per_byte,
    results.exam,
    measure.bench,
):
    app.command()(command)
app.add_typer(shelf.runs_app, name="runs")
for command in (shelf.models, shelf.tasks, talk.chat, talk.app, learn.pretrain, learn.precompute, learn.overlap):
    app.command()(command)

OK, BROKEN, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code: 0, 1 (something failed), 2 (bad input), 130 (Ctrl-C)."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: a child that we wait for ends with us
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that knows no arrow still gets its table
    try:
        code = app(args=dashed(sys.argv[1:] if arguments is None else arguments), standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except TyperException as error:
        return _say(_usage(error), BAD_INPUT)
    except ValueError as error:
        return _say(" ".join(str(error).split()), BAD_INPUT)
    except BrokenPipeError:  # the reader, `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK
    except OSError as error:
        return _say(files.sentence(error), BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _say("Cancelled.", INTERRUPTED)
    except RuntimeError as error:
        return _unforeseen(error) if type(error) is RuntimeError else _say(str(error), BROKEN)
    except Exception as error:
        return _unforeseen(error)


def dashed(arguments: list[str]) -> list[str]:
    """`--model_path x` is accepted for `--model-path x`."""
    found = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        found.append(name.replace("_", "-") + equals + value if name.startswith("--") else argument)
    return found


def _usage(error: TyperException) -> str:
    message = error.format_message() if hasattr(error, "format_message") else str(error)
    if len(message.strip().splitlines()) != 1:  # the help itself
        return message
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "python -m llmft_core"
    message = re.sub(r"Input should (be .*?)(, unable to .*)?$", r"must \1", message.replace("Value error, ", ""))
    return f"{message.rstrip('.')}; `{command} --help` says what can be given."


def _unforeseen(error: Exception) -> int:
    if os.environ.get("LLMFT_DEBUG"):
        traceback.print_exception(error)
    return _say(f"{type(error).__name__}: {files.last_line(error)} (LLMFT_DEBUG=1 shows where).", BROKEN)


def _say(sentence: str, code: int) -> int:
    print(files.hide_token(sentence), file=sys.stderr)
    return code
