"""The proof ledger: theorems as objects, checked by a small kernel."""
