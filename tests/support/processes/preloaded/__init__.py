"""The commands `streams` and `faust`, forked from a process that has loaded their modules.

The modules take two seconds of processor time, and the tests start some hundred workers and commands. Each is a process
of its own, as without this: with its own environment, folder, output, signals and exit code. Its process id is the one
of a small program that stands for it: it passes signals on, ends with its exit code, and takes it with it when it is
killed. For the real one's id, memory or a stop by SIGSTOP, start the command itself (`BIN`).
"""

from tests.support.processes.preloaded.commands import BIN, commands_folder, enable_preloading, kill

__all__ = ["BIN", "commands_folder", "enable_preloading", "kill"]
