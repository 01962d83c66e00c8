"""The ``zinterp`` command: finds the subcommand, and turns errors into one line and an exit code."""

import logging
import os
import signal
import sys
from importlib import import_module
from types import FrameType
from typing import NoReturn

import click

import zinterp
from zinterp.allocator import keep_freed_memory
from zinterp.cli.text import printable
from zinterp.errors import ZinterpError

COMMANDS = ("upsample", "finish", "watch", "evaluate", "info", "verify", "demo", "models", "train")
"""Each is a module beside this one with a click command ``command``."""

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


class LazyGroup(click.Group):
    """Imports a command's module only when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name, None if there is none."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"zinterp.cli.{cmd_name}").command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "ZINTERP"})
@click.version_option(zinterp.__version__, "-V", "--version", prog_name="zinterp")
def cli() -> None:
    """Make a microscopy volume denser in z: synthesise the planes between its planes.

    Every option can also be given as ZINTERP_<COMMAND>_<OPTION> in the environment, or by --config FILE.toml.
    """


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 143 terminated."""
    signal.signal(signal.SIGTERM, terminated)
    keep_freed_memory()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's products are small here: waiting costs more than they
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except ZinterpError as error:
        fail(str(error))
    except OSError as error:  # the system's own, such as a name that is too long or an output pipe that was closed
        fail(f"{error.filename or 'the system'}: {error.strerror or error}")
    except MemoryError:
        fail("there is not enough memory: give a smaller --max-memory or --tile")
    sys.exit(code if isinstance(code, int) else 0)


def fail(reason: str) -> NoReturn:
    """Say why in one line, on stderr and in the log file if there is one, and exit."""
    message = printable(reason)
    click.secho(f"zinterp: {message}", fg="red", err=True)
    for handler in logging.getLogger("zinterp").handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(logging.LogRecord("zinterp", logging.ERROR, "", 0, message, None, None))
    sys.exit(1)


def terminated(number: int, frame: FrameType | None) -> NoReturn:
    """On SIGTERM leave through all ``finally`` blocks."""
    sys.exit(EXIT_TERMINATED)
