"""Commands on numbers: ``plan`` and ``diagnose``, plain functions for typer.

The application that mounts them, with the commands on proofs, is `proofs.cli`.
"""
