"""The laboratory: released plugins, run against stand-ins that speak their providers' protocols.

``python -m tests.plugins.lab`` drives every plugin that is installed and prints what it found;
``--check`` compares it with what the product believes. A stand-in sends the messages that its
provider documents, with a number of each kind in them, all different: which comes out is a fact.
"""
