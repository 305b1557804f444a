"""What others add from outside: a vendor, an engine, a store, and the tests that each passes."""
