"""The library behind the programs: from a configuration to a finished run and its report."""
