"""The verbs of the command line, one file per group. Heavy imports happen inside the verbs."""
