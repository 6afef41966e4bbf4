"""One adapter for each library: a module with `DISTRIBUTION`, `SMALL` and `operations()`.

An adapter calls what is installed, by keyword, through `identity.conformance.calls.call`, and
computes nothing itself. It imports its library inside the functions, so that listing targets
imports none.
"""
