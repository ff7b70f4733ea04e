"""Programs that ``bench`` runs as processes of their own and asks over a pipe, one JSON line each.

A probe uses only what every build under comparison has in common, so that the same program measures
the working tree, an older commit and other people's packages.
"""
