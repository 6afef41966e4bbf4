"""The kernel: what counts as a proof here. Small enough to be read in one sitting.

Reading order: ``terms`` (the language), ``domain`` (typed variables), ``semantics`` (what a term
means), ``algebra`` (normal forms and signs), ``rules`` (the closed list), ``theorem`` (statements
and derivations), ``check`` (verdict, grade, samples, mutants, witnesses).
"""
