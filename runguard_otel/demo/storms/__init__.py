"""The five storms. Each ``play(report)`` is an application as people write it, in bad weather."""
