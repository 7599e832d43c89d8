"""Parts of one's own: from a folder, an installed package, or a class.

Nothing that is installed is edited.
"""
