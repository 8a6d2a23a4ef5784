"""Anyone's logs: a declaration says where the files are and what their columns mean."""
