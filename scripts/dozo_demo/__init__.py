"""The demo: a running server is snapshotted to two sites, lost twice, and brought back twice.

It drives the `dozo` command line as a person would, and checks from inside the guests that what
came back is what was there.
"""
