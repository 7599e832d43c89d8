"""The Python API: what `import engine` offers, in terms of the rooms below.

Nothing here prints, starts a process or reads the disk when it is imported; what is heavy is
imported by the functions that need it.
"""

from engine.api.namesakes import make_room

make_room()
