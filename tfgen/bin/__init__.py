"""The command line: train, evaluate, sample and export, and what they share."""
