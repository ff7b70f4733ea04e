"""Recording rules, alerts and where they go. Read ``tuning`` first: every number is there.

``rules.rule_files(tuning)`` makes the files that ``make generate`` commits under ``generated/`` and
that ``runguard-otel export alerts --set name=value`` writes with your numbers.
"""
