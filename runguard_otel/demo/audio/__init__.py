"""Short clips of synthetic speech; ``make.py`` made them."""
