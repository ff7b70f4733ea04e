"""Released speech plugins against loopback servers that speak their providers' protocols.

Each module needs the environment of its plugin, made by ``make test-plugins``; elsewhere it skips.
"""
