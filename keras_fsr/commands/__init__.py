"""The commands of the command line, one a module: `add` says what it takes, `run` calls what does it.

`run` takes the parsed arguments and returns the exit code, or None for 0. It imports what a command needs as it runs,
so that `keras-fsr --help` stays quick and the light install without TensorFlow.
"""
