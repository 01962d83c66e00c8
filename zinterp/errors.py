"""The errors that zinterp raises on purpose, each also the builtin error that fits it.

ZinterpError
├── BadVolumeError (ValueError)     an input that cannot be upsampled as it is
├── BadOptionError (ValueError)     an argument out of its range
├── BadWeightsError (ValueError)    a weights file that cannot be trusted or used
├── TrainingError (RuntimeError)    a training that came to nothing better than it started from
├── WorkerError (RuntimeError)       other processes that are lost again and again, or not to be had
├── OutputExistsError (FileExistsError)  an output that would be overwritten
├── NoRoomError (MemoryError)       a tile that the device has no memory for
├── OutputError (OSError)           an output that cannot be written
│   └── OutputBusyError             an output that another job is writing
└── InputError (OSError)            an input that cannot be read
    └── InputChangedError           an input that became another one while it was read

``cli/main.py`` turns them into one line and exit code 1; any other exception is a bug and keeps its traceback.
"""


class ZinterpError(Exception):
    """Base of every error that zinterp raises on purpose."""


class BadVolumeError(ZinterpError, ValueError):
    """The volume was read, but is not something that can be upsampled as it is."""


class BadOptionError(ZinterpError, ValueError):
    """An argument is outside of what it may be."""


class BadWeightsError(ZinterpError, ValueError):
    """A weights file is unknown, damaged, or not for this network."""


class TrainingError(ZinterpError, RuntimeError):
    """A training came to nothing better than what it started from."""


class WorkerError(ZinterpError, RuntimeError):
    """The processes that slabs were given to are lost again and again, or not to be had."""


class InputError(ZinterpError, OSError):
    """An input is missing, unreadable, or not in a format that zinterp reads."""


class OutputError(ZinterpError, OSError):
    """An output cannot be written."""


class OutputBusyError(OutputError):
    """Another job is writing the output."""


class InputChangedError(InputError):
    """An input was replaced, cut short or written to while it was read."""


class NoRoomError(ZinterpError, MemoryError):
    """The device has no memory for a tile."""


class OutputExistsError(ZinterpError, FileExistsError):
    """An output is there already and may not be overwritten."""


def reason_of(error: BaseException) -> str:
    """What a library's error says, on one line; its name if it says nothing."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
