"""Where the engine calls a part: its answer is looked at, and the process is left as it was."""
