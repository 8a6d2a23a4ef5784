"""A look at the files of a log, which writes its declaration."""
